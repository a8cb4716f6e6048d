"""House rules, kept by reading the source: who may import whom, how long things are, what is never written."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("tasks", "flows", "deployments")  # each imports from those before it
SUBJECTS = (  # inside tasks/: each imports from those before it; the first ones are single modules
    "errors",
    "orchestration",
    "secrets",
    "yaml_file",
    "cron",
    "sections",
    "config",
    "limits",
    "models",
    "containers",
    "databases",
    "storage",
    "history",
    "checks",
    "alerts",
    "backups",
    "restore",
    "watching",
    "leaving",
    "doctor",
    "reports",
    "menu",
)
MAY_IMPORT_PREFECT = (
    "tasks/orchestration.py",
    "deployments/tracking.py",
    "deployments/prefect_server.py",
    "deployments/serving/applied.py",
    "deployments/serving/runner.py",
)
LONGEST_FUNCTION = 60
LONGEST_FILE = 350

SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere in the file, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports relatively; name the module in full"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer_above(path: Path) -> list[str]:
    allowed = LAYERS[: LAYERS.index(path.relative_to(ROOT).parts[0]) + 1]
    return [
        f"{name_of(path)}:{line} imports {module}"
        for line, module in imports(path)
        if (top := module.partition(".")[0]) in (*LAYERS, "tests", "benchmarks") and top not in allowed
    ]


def subject_below(path: Path) -> list[str]:
    """Imports of a subject that comes later in tasks/ than the file's own."""
    layer, *rest = path.relative_to(ROOT).parts
    if layer != "tasks" or rest == ["__init__.py"]:
        return []
    own = rest[0].removesuffix(".py")
    if own not in SUBJECTS:
        return [f"{name_of(path)}: {own} has no place in the order of tasks/; give it one in SUBJECTS"]
    allowed = SUBJECTS[: SUBJECTS.index(own) + 1]
    return [
        f"{name_of(path)}:{line} imports {module}, which comes later"
        for line, module in imports(path)
        if module.startswith("tasks.") and module.split(".")[1] not in allowed
    ]


def prefect_import(path: Path) -> list[str]:
    if name_of(path) in MAY_IMPORT_PREFECT:
        return []
    return [
        f"{name_of(path)}:{line} imports {module}"
        for line, module in imports(path)
        if module.partition(".")[0].startswith("prefect")
    ]


def more_than_a_story(path: Path) -> list[str]:
    """Flows tell the run's story: they define no class (so no exception) and use no library but Python's own."""
    if path.relative_to(ROOT).parts[0] != "flows":
        return []
    classes = [
        f"{name_of(path)}:{node.lineno} defines class {node.name}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    ]
    libraries = [
        f"{name_of(path)}:{line} imports {module}"
        for line, module in imports(path)
        if (top := module.partition(".")[0]) not in LAYERS and top not in sys.stdlib_module_names
    ]
    return classes + libraries


def named_after_a_library(path: Path) -> list[str]:
    """A flow file is loaded with flows/ first on sys.path: its name must hide no other module."""
    if path.relative_to(ROOT).parts[0] != "flows" or path.stem == "__init__":
        return []
    taken = {*sys.stdlib_module_names, *SUBJECTS, *LAYERS, "docker", "prefect", "psycopg", "boto3", "apprise"}
    return [f"{name_of(path)} hides the module {path.stem}"] if path.stem in taken else []


def too_long(path: Path) -> list[str]:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    functions = [
        f"{name_of(path)}:{node.lineno} {node.name} has {length} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and (length := node.end_lineno - node.lineno + 1) > LONGEST_FUNCTION
    ]
    return functions + ([f"{name_of(path)} has {lines} lines"] if lines > LONGEST_FILE else [])


def swallowed(path: Path) -> list[str]:
    """`except Exception` (or barer) that neither raises again nor says in a comment on its line why it is right."""
    source = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{name_of(path)}:{node.lineno} catches everything and gives no reason"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and _catches_all(node)
        and not any(isinstance(each, ast.Raise) for each in ast.walk(node))
        and not re.search(r"# noqa: BLE001 - \w", source[node.lineno - 1])
    ]


def _catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in CATCH_ALL) for kind in kinds)


CATCH_ALL = {"Exception", "BaseException"}


def through_a_shell(path: Path) -> list[str]:
    """A command line that a shell would read: `shell=` with anything but False, os.system, os.popen."""
    found = []
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        shell = any(
            word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            for word in node.keywords
        )
        if shell or ast.unparse(node.func) in {"os.system", "os.popen"}:
            found.append(f"{name_of(path)}:{node.lineno} runs a shell")
    return found


def checks_input_by_assert(path: Path) -> list[str]:
    """`assert` is gone under `python -O`, and its text is for developers."""
    return [f"{name_of(path)}:{node.lineno} asserts" for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)]


RULES = [
    layer_above,
    subject_below,
    prefect_import,
    more_than_a_story,
    named_after_a_library,
    too_long,
    swallowed,
    through_a_shell,
    checks_input_by_assert,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_source_file_breaks_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert [broken for path in SOURCES for broken in rule(path)] == []


BAD = [
    (layer_above, "tasks/x.py", "from flows.backup import backup"),
    (layer_above, "flows/x.py", "import deployments.cli"),
    (layer_above, "tasks/x.py", "def f():\n    from tests.bed import disk"),
    (subject_below, "tasks/storage/x.py", "from tasks.history.store import History"),
    (subject_below, "tasks/errors.py", "from tasks import config"),
    (subject_below, "tasks/utils.py", "import re"),
    (prefect_import, "tasks/menu.py", "def f():\n    import prefect.events"),
    (prefect_import, "flows/x.py", "from prefect_docker import DockerHost"),
    (more_than_a_story, "flows/x.py", "class Stopped(Exception): pass"),
    (more_than_a_story, "flows/x.py", "import psycopg"),
    (named_after_a_library, "flows/docker.py", ""),
    (too_long, "tasks/menu.py", "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION),
    (too_long, "tasks/menu.py", "x = 1\n" * (LONGEST_FILE + 1)),
    (swallowed, "tasks/menu.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (swallowed, "tasks/menu.py", "try:\n    f()\nexcept (OSError, BaseException):  # noqa: BLE001\n    pass"),
    (swallowed, "tasks/menu.py", "try:\n    f()\nexcept:\n    pass"),
    (through_a_shell, "tasks/menu.py", "subprocess.run(line, shell=True)"),
    (through_a_shell, "tasks/menu.py", "os.system(line)"),
    (checks_input_by_assert, "tasks/menu.py", "assert target"),
]


@pytest.mark.parametrize(("rule", "name", "source"), BAD, ids=[f"{each[0].__name__}-{each[1]}" for each in BAD])
def test_each_rule_finds_what_breaks_it(
    rule: Callable[[Path], list[str]], name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source)

    assert len(rule(path)) == 1
