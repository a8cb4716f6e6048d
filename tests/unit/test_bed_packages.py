"""Every program that tests and the bed call comes from a package that the bed installs, or is always there."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bed.engine import ON_DEMAND, PACKAGES

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "deployments/demo").rglob("*.py"))]
BY_LIST = {"run", "must", "Popen", "call", "check_call", "check_output"}
BY_NAME = {"which", "require_tool", "_start"}
OTHERS = {"run", "call"}
"""Methods called so, too, run programs in containers: those of these modules and variables are meant."""
OURS = {"subprocess", "scene", "progress"}

# Debian's essential packages, and what a fresh machine is said to have: Python, gcc, make, git, apt.
ALWAYS = {
    "apt-get", "bash", "chown", "chroot", "cp", "dpkg", "dpkg-deb", "dpkg-query", "env", "gcc", "git", "grep", "kill",
    "make", "mount", "nsenter", "python3", "rm", "rmdir", "sed", "setpriv", "sh", "sleep", "tail", "tar", "true",
    "umount", "unshare",
}  # fmt: skip
ONLY_IF_THERE = {"systemd-analyze", "busybox"}
"""Asked for, and done without where they are missing."""


def programs(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, program) of each command line that is written as a list, in the call that starts it or under a name."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(each) for function in functions for each in ast.walk(function)}
    shared = _named(node for node in ast.walk(tree) if id(node) not in inside)
    yield from _started((node for node in ast.walk(tree) if id(node) not in inside), shared)
    for function in functions:
        yield from _started(ast.walk(function), shared | _named(ast.walk(function)))


def _named(nodes: Iterable[ast.AST]) -> dict[str, ast.expr]:
    return {
        target.id: node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _started(nodes: Iterable[ast.AST], named: dict[str, ast.expr]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Call) and node.args and _starts(node):
            program = _first(node.args[0], named)
            if program is not None:
                yield node.lineno, program


def _starts(call: ast.Call) -> bool:
    function, given = call.func, call.args[0]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if isinstance(function, ast.Attribute) and name in OTHERS and getattr(function.value, "id", "") not in OURS:
        return isinstance(function.value, ast.Attribute) and function.value.attr in OURS
    return name in BY_NAME if isinstance(given, ast.Constant) else name in BY_LIST


def _first(given: ast.expr, named: dict[str, ast.expr], depth: int = 3) -> str | None:
    """The first word, where it is written out."""
    if isinstance(given, ast.Constant) and isinstance(given.value, str):
        return given.value
    if isinstance(given, ast.List | ast.Tuple) and given.elts:
        return _first(given.elts[0], named, depth)
    if isinstance(given, ast.Starred):
        return _first(given.value, named, depth)
    if isinstance(given, ast.Name) and given.id in named and depth:
        return _first(named[given.id], named, depth - 1)
    return None


def test_every_program_that_is_called_is_in_the_list_of_packages_or_always_there() -> None:
    allowed = ALWAYS | ONLY_IF_THERE | set(PACKAGES) | set(ON_DEMAND)
    called = {
        f"{path.relative_to(ROOT)}:{line} {program}"
        for path in SOURCES
        for line, program in programs(ast.parse(path.read_text(encoding="utf-8")))
        if program not in allowed
    }
    assert sorted(called) == []


def test_a_program_that_is_in_no_list_is_found() -> None:
    text = "line = ['rsync', '-a']\nsubprocess.run([*line, 'x'])\nshutil.which('jq')\nrun(['docker', 'ps'])\n"
    assert [program for _, program in programs(ast.parse(text))] == ["rsync", "jq", "docker"]
