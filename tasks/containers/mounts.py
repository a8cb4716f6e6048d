"""A container's mounts, declared in three places, and the same declarations with one volume in another's place. Pure.

`HostConfig.Binds` holds strings, `HostConfig.Mounts` structures, and the top-level `Mounts` what is really mounted: an
anonymous volume is only there (Docker Engine API, ContainerInspect).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

# A host path may begin with a drive's letter: Docker Desktop shows it as it was given.
BIND = re.compile(r"(?:(?P<source>(?:[A-Za-z]:[\\/])?[^:]*):)?(?P<target>/[^:]*)(?::(?P<options>[^:]*))?", re.DOTALL)

# What VolumeOptions says of the volume itself: it would be asked of whichever volume stands there.
OF_THE_VOLUME = ("DriverConfig", "Labels")


class Bind(NamedTuple):
    """One string of HostConfig.Binds; source is None for an anonymous volume, options None where there are none."""

    source: str | None
    target: str
    options: str | None

    @property
    def text(self) -> str:
        """The string again."""
        return ":".join(each for each in self if each is not None)


class Remounted(NamedTuple):
    """What goes into HostConfig.Binds and HostConfig.Mounts; in words what is declared otherwise than before."""

    binds: list[str]
    mounts: list[dict[str, Any]]
    notes: list[str]


def place(path: str) -> str:
    """A destination as the engine writes it in the top-level `Mounts`: without a slash at its end."""
    return posixpath.normpath(path)


def read_bind(text: str) -> Bind:
    """A string of HostConfig.Binds in its parts; one of an unknown form is left whole, as a target nothing matches."""
    match = BIND.fullmatch(text)
    return Bind(match["source"], match["target"], match["options"]) if match else Bind(None, text, None)


def volumes_by_place(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of the top-level `Mounts` that are volumes, by destination."""
    return {place(each["Destination"]): each for each in found["Mounts"] if each["Type"] == "volume"}


def binds_of(found: dict[str, Any]) -> list[Bind]:
    """HostConfig.Binds in their parts."""
    return [read_bind(each) for each in found["HostConfig"].get("Binds") or []]


def structures_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """HostConfig.Mounts."""
    return list(found["HostConfig"].get("Mounts") or [])


def declared(found: dict[str, Any]) -> set[str]:
    """Every destination that Binds or Mounts names."""
    return {place(each.target) for each in binds_of(found)} | {place(each["Target"]) for each in structures_of(found)}


def remounted(found: dict[str, Any], destination: str, pinned: str) -> Remounted:
    """The declarations with the volume `pinned` at `destination`, where the other one was declared, flags kept.

    Anonymous volumes are named, or the new container would get new, empty ones; `nocopy`, so that one which was
    emptied is not filled from the image.
    """
    there = {at: each["Name"] for at, each in volumes_by_place(found).items()}
    wanted = {**there, place(destination): pinned}
    binds = [_named_bind(each, wanted, place(destination)) for each in binds_of(found)]
    mounts = [_named_mount(each, wanted, place(destination)) for each in structures_of(found)]
    mounts += _undeclared(found, wanted)
    return Remounted([each.text for each in binds], mounts, list(_notes(found, place(destination))))


def _named_bind(bind: Bind, wanted: dict[str, str], destination: str) -> Bind:
    name = wanted.get(place(bind.target))
    if name is not None and bind.source is None:
        return bind._replace(source=name, options=_with_nocopy(bind.options))
    return bind._replace(source=name) if name is not None and place(bind.target) == destination else bind


def _with_nocopy(options: str | None) -> str:
    return ",".join([*filter(None, (options or "").split(",")), "nocopy"])


def _named_mount(mount: dict[str, Any], wanted: dict[str, str], destination: str) -> dict[str, Any]:
    """A structure of the type `volume` with the volume's name; every other one as it is."""
    at = place(mount["Target"])
    if mount["Type"] != "volume" or at not in wanted:
        return mount
    if at == destination:
        mount = _without_options_of_the_volume(mount)
    if mount.get("Source"):
        return {**mount, "Source": wanted[at]}
    return {**mount, "Source": wanted[at], "VolumeOptions": {**(mount.get("VolumeOptions") or {}), "NoCopy": True}}


def _without_options_of_the_volume(mount: dict[str, Any]) -> dict[str, Any]:
    """Driver options like `type=none,o=bind,device=…` would make the other volume the very same folder."""
    if not mount.get("VolumeOptions"):
        return mount
    kept = {name: value for name, value in mount["VolumeOptions"].items() if name not in OF_THE_VOLUME}
    return {**mount, "VolumeOptions": kept}


def undeclared(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Volumes that no declaration names, by destination: anonymous ones of the image or of `-v /path`.

    Those that VolumesFrom brings are not among them.
    """
    own = {place(each) for each in found["Config"].get("Volumes") or {}}
    borrowing = bool(found["HostConfig"].get("VolumesFrom"))
    known = declared(found)
    return {
        at: each
        for at, each in volumes_by_place(found).items()
        if at not in known and (at in own or not borrowing)
    }  # fmt: skip


def _undeclared(found: dict[str, Any], wanted: dict[str, str]) -> Iterator[dict[str, Any]]:
    for at, mount in undeclared(found).items():
        entry = {"Type": "volume", "Source": wanted[at], "Target": at, "VolumeOptions": {"NoCopy": True}}
        yield entry if mount.get("RW", True) else {**entry, "ReadOnly": True}


def anonymous(found: dict[str, Any]) -> dict[str, str]:
    """The names of anonymous volumes by destination, wherever they are declared."""
    named = {place(each.target) for each in binds_of(found) if each.source}
    named |= {place(each["Target"]) for each in structures_of(found) if each.get("Source")}
    ours = undeclared(found)
    return {
        at: each["Name"]
        for at, each in volumes_by_place(found).items()
        if at not in named and (at in ours or at in declared(found))
    }


def _notes(found: dict[str, Any], destination: str) -> Iterator[str]:
    for at, name in anonymous(found).items():
        if at != destination:
            yield f"The anonymous volume {name[:12]}… stays at {at}; it is attached by its name from now on."
    for mount in structures_of(found):
        if place(mount["Target"]) == destination:
            for option in OF_THE_VOLUME:
                if (mount.get("VolumeOptions") or {}).get(option):
                    yield f"{option} of the mount at {destination} is left out: it was the other volume's."
