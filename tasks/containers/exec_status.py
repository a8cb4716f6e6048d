"""How a program that was run in a container ended."""

from __future__ import annotations

import time

import docker

KNOWN_WITHIN = 60.0
"""Seconds from the end of its output: an engine with much to do hears of the end itself later."""


def exit_status(client: docker.DockerClient, exec_id: str) -> int | None:
    """The exit status of one whose output has ended, once the engine knows it; None if it had none. Raise APIError."""
    given_up = time.monotonic() + KNOWN_WITHIN
    while True:
        found = client.api.exec_inspect(exec_id)
        if not found["Running"] or time.monotonic() > given_up:
            return None if found["ExitCode"] is None else int(found["ExitCode"])
        time.sleep(0.02)
