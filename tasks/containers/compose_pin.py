"""A compose file's text with one volume pinned: only that volume's own lines are written anew. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tasks.containers.compose_yaml import (
    child,
    fixed_name,
    is_external,
    is_null,
    keys,
    merged_keys,
    of_last,
    pair,
    read,
    scalar,
)
from tasks.errors import ComposeFileError

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
NOT_A_STRING = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


class Pinned(NamedTuple):
    """The mended text, the names of the options that had to go, and the lines that are new."""

    text: str
    dropped: list[str]
    added: list[str] = []


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def pin(text: str, key: str, name: str) -> Pinned:
    """The text with the volume `key` pinned: `external: true`, `name: …`, and nothing beside them but extensions (x-…).

    Raise ComposeFileError where the change cannot be made to this volume alone.
    """
    root = read(text)
    volumes = child(root, "volumes")
    found = pair(volumes, key)
    if found is None or not isinstance(volumes, MappingNode) or found not in volumes.value:
        raise ComposeFileError(f"its volume {key} is not declared where it could be changed by itself")
    if is_pinned([found[1]], key, name):
        return Pinned(text, [])
    dropped = [each for each in keys(found[1]) if each not in ("external", "name") and not _is_kept(found, each)]
    mended = _apply(text, list(_edits(text, volumes, *found, name)))
    if not _only_pinned(root, _reread(mended, key), key, name):
        raise ComposeFileError(f"its volume {key} shares its lines with others")
    lines = zip(("external", "name"), ("external: true", f"name: {name}"), strict=True)
    return Pinned(mended, dropped, [line for option, line in lines if not _says(found[1], option, name)])


def is_pinned(entries: Sequence[Node | None], key: str, name: str) -> bool:
    """Whether the volume is somebody else's and has this name, by what the files say of it one after the other.

    Compose takes an external volume's key for its name where it says none, and allows no option beside the two but
    extensions (x-…).
    """
    options = {each for entry in entries for each in merged_keys(entry) if not each.startswith("x-")}
    return (
        is_external(of_last(entries, "external"))
        and fixed_name(entries, key) == name
        and options <= {"external", "name"}
    )


def _is_kept(found: tuple[Node, Node], option: str) -> bool:
    """Whether it is an extension of the entry's own lines: those stay."""
    return option.startswith("x-") and found[1].start_mark.index > found[0].start_mark.index


def _says(entry: Node, option: str, name: str) -> bool:
    """Whether the entry's own line for the option is as it should be."""
    found = next((value for each, value in entry.value if each.value == option), None) if keys(entry) else None
    return scalar(found) == name if option == "name" else isinstance(found, ScalarNode) and is_external(found)


def _edits(text: str, volumes: MappingNode, key: Node, value: Node, name: str) -> Iterator[_Edit]:
    behind = _behind(text, key)
    aliased = value.start_mark.index < key.start_mark.index
    inline = _inline(text, key, name, [] if aliased else _extensions(text, value))
    if aliased:  # its node stands where the anchor is
        yield _Edit(behind, _end_of_alias(text, behind), f" {inline}")
    elif isinstance(value, MappingNode) and not value.flow_style:
        yield from _block(text, value, name)
    elif is_null(value) and not volumes.flow_style:
        yield from _null(text, key, value, behind, name)
    else:
        end = max(behind, value.end_mark.index) if value.value or isinstance(value, MappingNode) else behind
        yield _Edit(behind, end, f" {inline}" if behind > key.end_mark.index else f": {inline}")


def _behind(text: str, key: Node) -> int:
    """Right behind the key's colon; behind the key, where it has none (`{volume}`)."""
    colon = re.compile(r"\s*:").match(text, key.end_mark.index)
    return colon.end() if colon else int(key.end_mark.index)


def _end_of_alias(text: str, start: int) -> int:
    alias = re.compile(r"\s*\*[^\s,\[\]{}]+").match(text, start)
    return alias.end() if alias else start


def _extensions(text: str, value: Node) -> list[str]:
    """The entry's own x-…, as they are written."""
    pairs = value.value if isinstance(value, MappingNode) else []
    return [
        text[one.start_mark.index : _content_end(text, one, other)] for one, other in pairs if one.value[:2] == "x-"
    ]


def _inline(text: str, key: Node, name: str, extensions: Sequence[str]) -> str:
    """In the style of JSON where the key is quoted so."""
    more = "".join(f", {each}" for each in extensions)
    if text[key.start_mark.index] == '"':
        return f'{{"external": true, "name": "{name}"{more}}}'
    return f"{{external: true, name: {_quoted(name)}{more}}}"


def _quoted(name: str) -> str:
    """A name that YAML would read as something else than a string, in quotes."""
    return name if PLAIN.fullmatch(name) and name.lower() not in NOT_A_STRING else f'"{name}"'


def _null(text: str, key: Node, value: Node, behind: int, name: str) -> Iterator[_Edit]:
    """Two lines below the key's own, which keeps its comment."""
    if value.value:
        yield _Edit(behind, value.end_mark.index, "")
    column = key.start_mark.column
    end = _line_end(text, behind)
    newline = _newline(text)
    lines = "".join(f"{' ' * (column + (column or 2))}{each}{newline}" for each in _two_lines(name))
    yield _Edit(end, end, lines if text[:end].endswith("\n") else newline + lines.removesuffix(newline))


def _two_lines(name: str) -> list[str]:
    return ["external: true", f"name: {_quoted(name)}"]


def _block(text: str, value: MappingNode, name: str) -> Iterator[_Edit]:
    """What is there already is changed in its place; the rest goes, line by line; full-line comments stay."""
    first = value.value[0][0].start_mark
    external, naming = _two_lines(name)
    present = keys(value)
    missing = [line for key, line in (("external", external), ("name", naming)) if key not in present]
    newline, start = _newline(text), _line_start(text, first.index)
    yield _Edit(start, start, "".join(f"{' ' * first.column}{line}{newline}" for line in missing))
    for key, each in value.value:
        end = _content_end(text, key, each)
        if key.value in ("external", "name"):
            if not _says(value, key.value, name):
                yield _Edit(key.start_mark.index, end, external if key.value == "external" else naming)
        elif not key.value.startswith("x-"):
            yield _Edit(_line_start(text, key.start_mark.index), _line_end(text, end), "")


def _content_end(text: str, key: Node, value: Node) -> int:
    """Where the last thing that belongs to the value ends: no comment, no blank line after it."""
    behind = _behind(text, key)
    if value.start_mark.index < key.start_mark.index:
        return _end_of_alias(text, behind)
    return behind if is_null(value) and not value.value else _node_end(text, value)


def _node_end(text: str, node: Node) -> int:
    if isinstance(node, ScalarNode):
        return len(text[: node.end_mark.index].rstrip())
    if getattr(node, "flow_style", False) or not node.value:
        return int(node.end_mark.index)
    if isinstance(node, MappingNode):
        return _content_end(text, *node.value[-1])
    last = node.value[-1]
    if last.start_mark.index < node.start_mark.index:
        raise ComposeFileError("a volume of it ends with an alias")
    return _node_end(text, last)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _apply(text: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _reread(text: str, key: str) -> MappingNode:
    try:
        return read(text)
    except ComposeFileError:
        raise ComposeFileError(f"its volume {key} shares its lines with others") from None


def _only_pinned(before: Node, after: Node, key: str, name: str) -> bool:
    """Whether the volume is pinned now, and nothing else says anything else than before."""
    entry = child(after, "volumes", key)
    return entry is not None and is_pinned([entry], key, name) and _plain(before, (key,)) == _plain(after, (key,))


def _plain(root: Node, without: tuple[str, ...]) -> list[Any]:
    """The document's content, but for the top-level volume."""
    content: list[Any] = []
    for name, value in root.value:
        if name.value == "volumes" and isinstance(value, MappingNode):
            content.append([(each.value, _content(entry)) for each, entry in value.value if each.value not in without])
            content.append([each.value for each, _ in value.value])
        else:
            content.append((name.value, _content(value)))
    return content


def _content(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return node.tag, [(_content(name), _content(value)) for name, value in node.value]
    if isinstance(node, SequenceNode):
        return node.tag, [_content(each) for each in node.value]
    return node.tag, node.value
