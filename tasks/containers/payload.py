"""The create body of a replacement: what was asked for when the container was made, read back from its inspect JSON.

Inspect JSON mixes the request with what came of it; each place where the two differ is a rule here (Docker Engine API,
ContainerInspect and ContainerCreate). Pure; the body holds the container's secrets and goes from here to the engine,
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.containers.mounts import place, remounted, volumes_by_place
from tasks.containers.networks import default_bridge, first_network, split_endpoints
from tasks.errors import EngineError

SHORT = 12  # characters of an id that the engine uses as a host name and as an alias

# From this API on, all networks can be named at create, and a MAC address belongs to one of them.
MANY_NETWORKS = (1, 44)

NOT_ASKED_FOR = ("MacAddress", "OnBuild", "ArgsEscaped", "Hostname", "Image", "Labels", "Entrypoint")
# What the engine refuses, and had not been given, where another container's network is shared.
NOT_BESIDE_A_SHARED_NETWORK = ("ExposedPorts", "Domainname")


@dataclass(frozen=True)
class Payload:
    """All that `create` needs. Only `notes`, `name`, `volumes` and names of networks may be shown.

    name: the container's own name. body: the create request. networks: to be connected before the start, with their
    settings. network_ids: of every network by name. volumes: that must exist, or the engine would make empty ones.
    platform: of the image, as `os/architecture`. notes: what differs from the container on purpose, a sentence each.
    """

    name: str
    body: dict[str, Any] = field(repr=False)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    network_ids: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    platform: str = ""
    notes: list[str] = field(default_factory=list)


def replacement(
    found: dict[str, Any],
    image: dict[str, Any],
    *,
    api_version: str,
    wrong: str,
    pinned: str,
    destination: str,
    labels: Mapping[str, str | None] | None = None,
    names: Mapping[str, str] | None = None,
) -> Payload:
    """The container `found` again, with the volume `pinned` at `destination` in place of `wrong`.

    image: inspect JSON of the image it runs. labels: set in addition; None takes one away. names: of containers by id,
    for those whose namespaces or volumes it uses.
    Raise EngineError if `wrong` is not what it mounts there: somebody changed it.
    """
    name = found["Name"].lstrip("/")
    there = volumes_by_place(found)
    mounted = there.get(place(destination), {}).get("Name")
    if mounted != wrong:
        raise EngineError(
            f"The container {name} mounts {mounted or 'no volume'} at {destination}, not {wrong}: it was changed "
            "meanwhile. Look at it again, then plan again."
        )
    many = _version(api_version) >= MANY_NETWORKS
    mounts = remounted(found, destination, pinned)
    asked, notes = _image_name(found, image)
    mode, mode_notes = first_network(found)
    at_create, afterwards = split_endpoints(found, mode, many=many)
    _put_mac_address(found, mode, at_create, many=many)
    body = {
        **_config(found, image, labels or {}),
        "Image": asked,
        "HostConfig": _host_config(found, mounts.binds, mounts.mounts, mode, names or {}),
        "NetworkingConfig": {"EndpointsConfig": at_create},
    }
    if not many and found["Config"].get("MacAddress"):
        body["MacAddress"] = found["Config"]["MacAddress"]
    return Payload(
        name=name,
        body=body,
        networks=afterwards,
        network_ids=_network_ids(found),
        volumes=sorted({pinned} | {each["Name"] for at, each in there.items() if at != place(destination)}),
        platform=f"{image.get('Os') or 'linux'}/{image['Architecture']}" if image.get("Architecture") else "",
        notes=[*notes, *mode_notes, *mounts.notes],
    )


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _config(found: dict[str, Any], image: dict[str, Any], labels: Mapping[str, str | None]) -> dict[str, Any]:
    config = {name: value for name, value in found["Config"].items() if name not in NOT_ASKED_FOR}
    together = {**(found["Config"].get("Labels") or {}), **labels}
    config["Labels"] = {name: value for name, value in together.items() if value is not None}
    config["Entrypoint"] = _entrypoint(found, image)
    if not _has_others_network(found):
        return config if _hostname_is_made_up(found) else {**config, "Hostname": found["Config"]["Hostname"]}
    return {name: value for name, value in config.items() if name not in NOT_BESIDE_A_SHARED_NETWORK}


def _has_others_network(found: dict[str, Any]) -> bool:
    return str(found["HostConfig"].get("NetworkMode") or "").startswith("container:")


def _hostname_is_made_up(found: dict[str, Any]) -> bool:
    """The old short id, or the host's own name, which the engine accepts from nobody."""
    given = found["Config"].get("Hostname") or ""
    return given in ("", found["Id"][:SHORT]) or found["HostConfig"].get("UTSMode") == "host"


def _entrypoint(found: dict[str, Any], image: dict[str, Any]) -> list[str] | None:
    """`--entrypoint ""` reads back as none at all, and none at all would be the image's again."""
    asked: list[str] | None = found["Config"].get("Entrypoint")
    return [""] if not asked and (image.get("Config") or {}).get("Entrypoint") else asked


def _host_config(
    found: dict[str, Any], binds: list[str], mounts: list[dict[str, Any]], mode: str, names: Mapping[str, str]
) -> dict[str, Any]:
    """All of it, known and unknown, but for mounts, links, and other containers, which are called by name."""
    host = {name: value for name, value in found["HostConfig"].items() if name != "ContainerIDFile"}
    host["NetworkMode"] = mode
    for namespace in ("NetworkMode", "PidMode", "IpcMode"):
        host[namespace] = _by_name(host.get(namespace), names)
    host["Links"] = links_of(found) or None
    host["VolumesFrom"] = [_lender(each, names) for each in found["HostConfig"].get("VolumesFrom") or []] or None
    host["Binds"] = binds or None
    if mounts or "Mounts" in host:
        host["Mounts"] = mounts or None
    return host


def _by_name(mode: str | None, names: Mapping[str, str]) -> str | None:
    kind, _, other = (mode or "").partition(":")
    return f"container:{names.get(other, other)}" if kind == "container" else mode


def _lender(text: str, names: Mapping[str, str]) -> str:
    other, colon, how = text.partition(":")
    return f"{names.get(other, other)}{colon}{how}"


def links_of(found: dict[str, Any]) -> list[str]:
    """HostConfig.Links as they were asked for: they come back as `/other:/self/alias`."""
    links = []
    for each in found["HostConfig"].get("Links") or []:
        other, _, alias = each.partition(":")
        links.append(f"{other.lstrip('/')}:{alias.rpartition('/')[2] or other.lstrip('/')}")
    return links


def _image_name(found: dict[str, Any], image: dict[str, Any]) -> tuple[str, list[str]]:
    """The image's name while it still means the image that runs; else its id, and a sentence that says so.

    A tag that has moved on may be another major version, which refuses the data.
    """
    asked, running = str(found["Config"]["Image"]), str(found["Image"])
    if asked in (running, running.removeprefix("sha256:")) or means(asked, image):
        return asked, []
    return running, [
        f"{asked} is no longer the image that {found['Name'].lstrip('/')} runs; the replacement runs the same image, "
        f"by its id {running.removeprefix('sha256:')[:SHORT]}."
    ]


def means(name: str, image: dict[str, Any]) -> bool:
    """Whether `name` is one of the names the image has now, or the beginning of its id."""
    short = name.removeprefix("docker.io/").removeprefix("library/")
    known = {*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])}
    known |= {each.removeprefix("docker.io/").removeprefix("library/") for each in known}
    tag, at, digest = short.partition("@")
    if at:
        repository = tag.rpartition(":")[0] if ":" in tag.rpartition("/")[2] else tag
        return f"{repository}@{digest}" in known
    if ":" not in short.rpartition("/")[2]:
        return f"{short}:latest" in known or (len(name) >= SHORT and str(image["Id"]).startswith(f"sha256:{name}"))
    return short in known


def _put_mac_address(found: dict[str, Any], mode: str, at_create: dict[str, dict[str, Any]], *, many: bool) -> None:
    """A MAC address that was asked for; those that the engine made up are not in Config."""
    address = found["Config"].get("MacAddress")
    name = "bridge" if default_bridge(mode) else mode
    if many and address and name in at_create:
        at_create[name]["MacAddress"] = address


def _network_ids(found: dict[str, Any]) -> dict[str, str]:
    networks = found["NetworkSettings"].get("Networks") or {}
    return {name: each["NetworkID"] for name, each in networks.items() if each.get("NetworkID")}


def names_of(everybody: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Names by id, from the inspect JSON of all containers."""
    return {each["Id"]: each["Name"].lstrip("/") for each in everybody}
