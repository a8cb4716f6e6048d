"""What a container asked of its networks, apart from what it was given there. Pure."""

from __future__ import annotations

from typing import Any

# EndpointSettings that are configuration; ids, gateways and addresses beside them are state.
ASKED_FOR = ("IPAMConfig", "Aliases", "Links", "DriverOpts", "GwPriority")
NOT_ON_THE_DEFAULT_BRIDGE = ("IPAMConfig", "Aliases", "Links")

Endpoints = dict[str, dict[str, Any]]


def default_bridge(mode: str) -> bool:
    """Whether NetworkMode means the engine's default network."""
    return mode in ("", "default", "bridge")


def alone(mode: str) -> bool:
    """Whether NetworkMode leaves no room for a network of one's own."""
    return mode in ("host", "none") or mode.startswith("container:")


def endpoints(found: dict[str, Any]) -> Endpoints:
    """By network's name, what was asked for there. The old short id is no alias: the engine adds the new one's."""
    networks = found["NetworkSettings"].get("Networks") or {}
    return {name: _asked_for(name, each, found["Id"]) for name, each in networks.items()}


def _asked_for(network: str, endpoint: dict[str, Any], container_id: str) -> dict[str, Any]:
    kept = {name: endpoint[name] for name in ASKED_FOR if endpoint.get(name)}
    aliases = [each for each in kept.pop("Aliases", []) if not (len(each) >= 12 and container_id.startswith(each))]
    if aliases:
        kept["Aliases"] = aliases
    if network in ("bridge", "host", "none"):
        kept = {name: value for name, value in kept.items() if name not in NOT_ON_THE_DEFAULT_BRIDGE}
    return kept


def network_mode(found: dict[str, Any]) -> str:
    """NetworkMode with a network by its name, where it was given by its id."""
    mode = str(found["HostConfig"].get("NetworkMode") or "default")
    networks = found["NetworkSettings"].get("Networks") or {}
    by_id = (name for name, each in networks.items() if (each.get("NetworkID") or "").startswith(mode))
    return mode if alone(mode) or default_bridge(mode) or mode in networks else next(by_id, mode)


def first_network(found: dict[str, Any]) -> tuple[str, list[str]]:
    """The network to be named at create, and a sentence where it is not the one that the container was made with.

    A container may have left that one.
    """
    mode = network_mode(found)
    networks = found["NetworkSettings"].get("Networks") or {}
    first = next(iter(networks), None)
    if first is None or alone(mode) or mode in networks or (default_bridge(mode) and "bridge" in networks):
        return mode, []
    return first, [f"The network {mode} that it was made with is not connected any more; {first} comes first now."]


def split_endpoints(found: dict[str, Any], mode: str, *, many: bool) -> tuple[Endpoints, Endpoints]:
    """The networks that are named at create, and those to be connected afterwards, before the start.

    many: whether the engine's API takes several at create.
    """
    if alone(mode):
        return {}, {}
    asked = endpoints(found)
    if many:
        return asked, {}
    first = "bridge" if default_bridge(mode) else mode
    return {first: asked.get(first, {})}, {name: each for name, each in asked.items() if name != first}
