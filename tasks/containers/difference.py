"""What really differs between two containers, from their inspect JSON. Pure; secrets are never shown.

Ids, times, state, names and what the engine assigned (addresses, ports, generated names) are no difference. Values are
shown only where none can be a secret: elsewhere the line says that they differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.containers.mounts import binds_of, place, structures_of
from tasks.containers.networks import endpoints, network_mode
from tasks.containers.payload import SHORT, links_of

TOP = ("Image", "Path", "Args", "Driver", "Platform", "AppArmorProfile")
MAY_BE_SHOWN = (
    "Image",
    "Driver",
    "Platform",
    "Mounts.",
    "Networks.",
    "Config.Image",
    "Config.Hostname",
    "Config.Labels.com.docker.compose.",
    "Config.User",
    "Config.StopSignal",
    "Config.StopTimeout",
    "Config.Volumes",
    "Config.ExposedPorts",
    "HostConfig.NetworkMode",
    "HostConfig.RestartPolicy",
    "HostConfig.PortBindings",
    "HostConfig.VolumesFrom",
)
OPTIONS = ".DriverConfig.Options."  # a network file system's password may be among them
NOTHING: tuple[Any, ...] = (None, "", [], {})
LEFT_OUT = ("Binds", "Mounts", "Links", "ContainerIDFile")


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each thing that differs: `where: old → new`, or `where: differs` where a value may be a secret."""
    before, after = _facts(old), _facts(new)
    places = sorted({*before, *after})
    return [
        _line(where, before.get(where), after.get(where))
        for where in places
        if not _same(before.get(where), after.get(where))
    ]


def _same(one: Any, other: Any) -> bool:
    """What was not asked for reads back as null, as empty, or not at all. Zero and false can be asked for."""
    return bool(one == other) or (_is_nothing(one) and _is_nothing(other))


def _is_nothing(value: Any) -> bool:
    return any(value is each or (type(value) is type(each) and value == each) for each in NOTHING)


def _line(where: str, one: Any, other: Any) -> str:
    numbers = all(value is None or isinstance(value, bool | int | float) for value in (one, other))
    if not numbers and (not where.startswith(MAY_BE_SHOWN) or OPTIONS in where):
        return f"{where}: {_only_in(one, other)}"
    return f"{where}: {_shown(one)} → {_shown(other)}"


def _only_in(one: Any, other: Any) -> str:
    if _is_nothing(one):
        return "only in the new one"
    return "only in the old one" if _is_nothing(other) else "differs"


def _shown(value: Any) -> str:
    return "none" if _is_nothing(value) else str(value)


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    """Everything that was asked for, by place."""
    facts = {name: found.get(name) for name in TOP}
    facts |= {f"Config.{name}": value for name, value in _config(found).items()}
    facts |= {f"HostConfig.{name}": value for name, value in _host_config(found).items()}
    facts |= {f"Mounts.{where}": value for where, value in _mounts(found)}
    facts |= {
        f"Networks.{network}.{name}": value
        for network, asked in endpoints(found).items()
        for name, value in {"connected": True, **_in_order(asked)}.items()
    }
    return facts


def _in_order(asked: dict[str, Any]) -> dict[str, Any]:
    """Aliases and links are sets: the engine returns them in any order."""
    return {name: sorted(value) if isinstance(value, list) else value for name, value in asked.items()}


def _config(found: dict[str, Any]) -> dict[str, Any]:
    config = dict(found["Config"])
    labels, environment = config.pop("Labels", None) or {}, config.pop("Env", None) or []
    if config.get("Hostname") == found["Id"][:SHORT] or _shares_network(found):
        config.pop("Hostname", None)
    pairs = (each.partition("=") for each in environment)
    return {
        **config,
        **{f"Labels.{name}": value or "(empty)" for name, value in labels.items()},
        **{f"Env.{name}": f"{equals}{value}" or "(unset)" for name, equals, value in pairs},
    }


def _shares_network(found: dict[str, Any]) -> bool:
    return str(found["HostConfig"].get("NetworkMode") or "").startswith("container:")


def _host_config(found: dict[str, Any]) -> dict[str, Any]:
    host = {name: value for name, value in found["HostConfig"].items() if name not in LEFT_OUT}
    policy = host.get("RestartPolicy") or {}
    # A name that was not given means the same as `no`.
    host["RestartPolicy"] = {"MaximumRetryCount": 0, **policy, "Name": policy.get("Name") or "no"}
    host["NetworkMode"] = network_mode(found)
    host["Links"] = sorted(links_of(found))
    return host


def _mounts(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is mounted, and the flags it was declared with; the way of writing it down is no difference."""
    for each in found["Mounts"]:
        at = place(each["Destination"])
        yield f"{at}.{each['Type']}", each.get("Name") or each.get("Source") or "made anew"
        yield f"{at}.writable", each.get("RW")
        yield f"{at}.propagation", each.get("Propagation")
        yield f"{at}.driver", each.get("Driver")
    for bind in binds_of(found):
        flags = sorted(filter(None, (bind.options or "").split(",")))
        yield f"{place(bind.target)}.flags", [each for each in flags if each != "rw"]
    for mount in structures_of(found):
        options = {name: value for name, value in mount.items() if name not in ("Type", "Source", "Target", "ReadOnly")}
        for name, value in options.items():
            yield from _options(f"{place(mount['Target'])}.{name}", value)


def _options(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _options(f"{where}.{name}", each)
    else:
        yield where, value
