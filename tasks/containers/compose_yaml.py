"""A compose file, read: which volumes it declares, what a service mounts. Pure.

It is read as nodes with their places (YAML's representation graph): no value is interpreted, none is ever printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tasks.containers.mounts import place
from tasks.errors import ComposeFileError

PART = re.compile(r"(?:\$\{[^}]*\}|[^:])+")  # between colons; a variable's default may hold colons of its own

TRUE = frozenset({"true", "yes", "on", "y"})

Kind = Literal["named", "path", "anonymous", "variable"]


class Source(NamedTuple):
    """What a service mounts at a destination; text: the volume's key, or the entry's source as it is written."""

    kind: Kind
    text: str


def read(text: str) -> MappingNode:
    """The document's top node. Raise ComposeFileError, which quotes nothing of it."""
    try:
        root = YAML(typ="rt", pure=True).compose(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise ComposeFileError(f"it is not valid YAML, or more than one document{where}") from None
    if not isinstance(root, MappingNode):
        raise ComposeFileError("it holds no mapping")
    return root


def read_text(path: Path) -> str:
    """The file's text, its line ends as they are. Raise ComposeFileError."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeFileError(f"it cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8'})") from None


def pair(node: Node | None, key: str) -> tuple[Node, Node] | None:
    """The key's node and its value's in a mapping, one of its own or one merged in by `<<`."""
    found = ((name, value) for each in _with_merged(node) for name, value in each.value if name.value == key)
    return next(found, None)


def _with_merged(node: Node | None) -> list[MappingNode]:
    """The mapping and all that are merged into it, the nearest first, each once: one may merge in itself."""
    found: list[MappingNode] = []
    waiting = [node]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, MappingNode) or any(each is one for one in found):
            continue
        found.append(each)
        merged = [value for name, value in each.value if name.value == "<<"]
        waiting[:0] = [one for value in merged for one in (value.value if isinstance(value, SequenceNode) else [value])]
    return found


def child(node: Node | None, *path: str) -> Node | None:
    """The value at the end of the path, or None."""
    for key in path:
        found = pair(node, key)
        node = found[1] if found else None
    return node


def scalar(node: Node | None) -> str | None:
    """A scalar's text; None where there is none."""
    return str(node.value) if isinstance(node, ScalarNode) and not is_null(node) else None


def is_null(node: Node) -> bool:
    """Whether it is a null, written or left out."""
    return isinstance(node, ScalarNode) and str(node.tag).endswith(":null")


def strings(node: Node | None) -> list[str]:
    """The scalars of a sequence."""
    values = node.value if isinstance(node, SequenceNode) else []
    return [each.value for each in values if isinstance(each, ScalarNode)]


def has_volume(root: Node, key: str) -> bool:
    """Whether the document declares the volume `key` at its top level."""
    return pair(child(root, "volumes"), key) is not None


def keys(node: Node | None) -> list[str]:
    """The keys of a mapping."""
    return [name.value for name, _ in node.value] if isinstance(node, MappingNode) else []


def merged_keys(node: Node | None) -> list[str]:
    """The same, and those that are merged in."""
    return [name for each in _with_merged(node) for name in keys(each) if name != "<<"]


def is_external(external: Node | None) -> bool:
    """What a volume's `external` means: a boolean in any spelling of YAML 1.1, or the old way a mapping."""
    return isinstance(external, MappingNode) or (scalar(external) or "").lower() in TRUE


def volume_name(root: Node, key: str, project: str) -> str:
    """The engine's name of the volume `key`, as Compose makes it (Compose file reference, volumes)."""
    entry = child(root, "volumes", key)
    return fixed_name([entry], key) or f"{project}_{key}"


def fixed_name(entries: Sequence[Node | None], key: str) -> str | None:
    """The name that no project's name comes before; None where there is none. entries: what the files say of the
    volume, one after the other."""
    external = of_last(entries, "external")
    if isinstance(external, MappingNode) and (name := scalar(child(external, "name"))):
        return name
    return scalar(of_last(entries, "name")) or (key if is_external(external) else None)


def of_last(entries: Sequence[Node | None], key: str) -> Node | None:
    """The value of the last of these mappings that has the key."""
    return next((found for each in reversed(entries) if (found := child(each, key)) is not None), None)


def kept_elsewhere(entries: Sequence[Node | None]) -> list[str]:
    """The names of the options by which a volume is no plain one of the engine's own disk: a driver that is not
    `local`, options of the driver. entries: what the files say of it, one after the other."""
    driver, options = of_last(entries, "driver"), of_last(entries, "driver_opts")
    found = ["driver"] if (scalar(driver) or "local") != "local" else []
    return [*found, "driver_opts"] if isinstance(options, MappingNode) and options.value else found


def included(root: Node, folder: Path) -> list[Path]:
    """The files that the document includes, as far as they are files of this machine (Compose file reference, include).

    folder: the document's own, which the paths start from.
    """
    listed = child(root, "include")
    found: list[str] = []
    for entry in listed.value if isinstance(listed, SequenceNode) else []:
        paths = child(entry, "path") if isinstance(entry, MappingNode) else entry
        found += strings(paths) if isinstance(paths, SequenceNode) else filter(None, [scalar(paths)])
    return [folder / each for each in found if "://" not in each and "$" not in each]


def extended(root: Node, service: str, path: Path) -> tuple[Path, str] | None:
    """The file and the service that a service of the document extends; path: the document's own."""
    extends = child(root, "services", service, "extends")
    if isinstance(extends, MappingNode):
        other = scalar(child(extends, "service"))
        return (path.parent / (scalar(child(extends, "file")) or path.name), other) if other else None
    other = scalar(extends)
    return (path, other) if other else None


def source_at(root: Node, service: str, destination: str) -> Source | None:
    """What the service mounts at `destination`; None where this document does not say."""
    entries = child(root, "services", service, "volumes")
    found = [
        _source(entry, destination) for entry in (entries.value if isinstance(entries, SequenceNode) else [])
    ]  # fmt: skip
    return next((each for each in reversed(found) if each is not None), None)


def _source(entry: Node, destination: str) -> Source | None:
    if isinstance(entry, MappingNode):
        return _long(entry, destination)
    parts = PART.findall(str(entry.value))
    if not parts:
        return None
    if len(parts) > 2 and re.fullmatch(r"[A-Za-z]", parts[0]) and parts[2][0] == "/":  # a drive's letter
        parts = [":".join(parts[:2]), *parts[2:]]
    target = parts[0] if len(parts) == 1 else parts[1]
    if not target or place(target) != place(destination):
        return None
    return _kind_of(parts[0]) if len(parts) > 1 else Source("anonymous", "")


def _long(entry: MappingNode, destination: str) -> Source | None:
    target = scalar(next((each for name in ("target", "dst", "destination") if (each := child(entry, name))), None))
    if target is None or place(target) != place(destination):
        return None
    source = scalar(child(entry, "source")) or scalar(child(entry, "src"))
    if scalar(child(entry, "type")) in ("bind", "tmpfs"):
        return Source("path", source or "")
    return _kind_of(source) if source else Source("anonymous", "")


def _kind_of(source: str) -> Source:
    if "$" in source:
        return Source("variable", source)
    is_path = source[0] in "./~\\" or re.match(r"[A-Za-z]:[\\/]", source)
    return Source("path" if is_path else "named", source)


def services_with(root: Node, key: str) -> list[str]:
    """The services that mount the volume `key` anywhere."""
    services = child(root, "services")
    return [name for name in keys(services) if key in _named(child(services, name, "volumes"))]


def _named(entries: Node | None) -> Iterator[str]:
    for entry in entries.value if isinstance(entries, SequenceNode) else []:
        if isinstance(entry, MappingNode):
            yield scalar(child(entry, "source")) or scalar(child(entry, "src")) or ""
        else:
            yield (PART.findall(str(entry.value)) or [""])[0]
