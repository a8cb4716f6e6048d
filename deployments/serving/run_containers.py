"""A Docker work pool in which each run is a container like the one that this program runs in."""

from __future__ import annotations

import copy
from typing import Any

from tasks.containers.engine import engine, own_container
from tasks.errors import RollcallError

# The environment may hold secrets, and a work pool is stored in Prefect's database and shown in its UI: only these.
PASSED_ON = ("ROLLCALL_CONFIG", "DOCKER_HOST")


def this_container() -> dict[str, Any]:
    """The engine's JSON about the container that this program runs in. Raise RollcallError if it runs in none."""
    with engine(None) as client:
        ours = own_container(client)
    if ours is None:
        raise RollcallError(
            "--in-containers makes each run a container like the one that this command runs in, and it runs in none of "
            "the engine's. Start it in Rollcall's image, or leave the option out: the runs are then processes."
        )
    return ours


def job_template(plain: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """The Docker worker's own template, with defaults of the container whose inspect JSON `ours` is. Pure."""
    template = copy.deepcopy(plain)
    variables = template["variables"]["properties"]
    for name, value in _like(ours).items():
        variables[name]["default"] = value
    return template


def _like(ours: dict[str, Any]) -> dict[str, Any]:
    host, config = ours["HostConfig"], ours["Config"]
    given = dict(each.partition("=")[::2] for each in config["Env"] or [])
    return {
        "image": config["Image"],
        "image_pull_policy": "IfNotPresent",
        "env": {name: given[name] for name in PASSED_ON if name in given},
        "network_mode": host["NetworkMode"],
        "volumes": [_mounted(each) for each in ours["Mounts"] if each["Type"] in {"bind", "volume"}],
        "auto_remove": True,
        "container_create_kwargs": {
            "user": config["User"],
            "group_add": host["GroupAdd"],
            "read_only": host["ReadonlyRootfs"],
            "tmpfs": host["Tmpfs"],
            "cap_drop": host["CapDrop"],
            "security_opt": host["SecurityOpt"],
            "init": host["Init"],
            # Of the image: it asks `rollcall serve`.
            "healthcheck": {"test": ["NONE"]},
        },
    }


def _mounted(each: dict[str, Any]) -> str:
    source = each["Name"] if each["Type"] == "volume" else each["Source"]
    return f"{source}:{each['Destination']}:{'rw' if each['RW'] else 'ro'}"
