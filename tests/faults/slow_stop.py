"""Databases that take their time to stop: an entry point that waits, or a smart shutdown with a client connected."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import psycopg
from docker.errors import APIError, ImageNotFound

from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.postgres import PostgresServers
from tests.bed.progress import wait_until
from tests.faults.restore_scene import Scene

Slow = Literal["entry point", "smart"]

# Passes a signal on after so many seconds. A second one does not make it longer: as with a program that shuts down.
ENTRYPOINT = """#!/bin/bash
docker-entrypoint.sh "$@" & child=$!
stop() { [ -n "$stopping" ] || { stopping=yes; (sleep "$SLOW_STOP"; kill -INT "$child") & }; }
trap stop INT TERM
while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
exit "$status"
"""


@contextmanager
def slow_image(bed: Bed, version: int, slow: Slow, seconds: float) -> Iterator[str]:
    """An image like that of the version whose server takes so many seconds to stop."""
    name = f"{bed.name('slow-stop')}:{version}"
    recipe = f"FROM {images.tag(version)}\nLABEL rollcall.bed.of={name}\n"
    if slow == "smart":
        recipe += "STOPSIGNAL SIGTERM\n"
    else:
        recipe += f'COPY --chmod=755 slow.sh /\nENV SLOW_STOP={seconds}\nENTRYPOINT ["/slow.sh"]\nCMD ["postgres"]\n'
    _build(bed, name, recipe)
    try:
        yield name
    finally:
        wait_until(lambda: _is_removed(bed, name), 180, f"the removal of the image {name}")


def _is_removed(bed: Bed, image: str) -> bool:
    """Remove it; False while a census of another test looks into volumes by it."""
    try:
        bed.client.images.remove(image, force=True)
    except ImageNotFound:
        return True
    except APIError:
        return False
    return True


def _build(bed: Bed, name: str, recipe: str) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for file, text in (("Dockerfile", recipe.replace("--chmod=755 ", "")), ("slow.sh", ENTRYPOINT)):
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(text.encode()), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    context.seek(0)
    bed.client.images.build(fileobj=context, custom_context=True, tag=name, labels=bed.labels, rm=True)


@contextmanager
def clients_connected(servers: PostgresServers, made: Scene, seconds: float) -> Iterator[None]:
    """Somebody who is always connected, and whom a smart shutdown waits for: `seconds` after the shutdown has begun."""
    over = threading.Event()

    def hold() -> None:
        while not over.wait(0.2):
            with suppress(Exception), servers.ready(made.server).connect(connect_timeout=2) as connection:
                _stay(connection, over, seconds)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)


def _stay(connection: psycopg.Connection, over: threading.Event, seconds: float) -> None:
    """Stay until new connections have been refused for so long."""
    while not over.wait(0.2):
        try:
            psycopg.connect(connection.info.dsn, password=connection.info.password, connect_timeout=2).close()
        except psycopg.OperationalError:
            over.wait(seconds)
            return
