"""A compose file with one volume pinned: only the lines of that volume differ, in whatever way it is written."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tasks.containers.compose_pin import Pinned, is_pinned, pin
from tasks.containers.compose_yaml import (
    Source,
    child,
    has_volume,
    kept_elsewhere,
    read,
    services_with,
    source_at,
    volume_name,
)
from tasks.errors import ComposeFileError

HEAD = """\
# Our database.   Do not touch!
version: '3.7'
x-logging: &logging {driver: "json-file", options: {max-size: 3m}}   # shared

services:
    db:
        image:   "postgres:16"       # aligned on purpose
        logging: *logging
        environment:
            POSTGRES_PASSWORD: "${PW:-it's: odd}"
            MODE: 0755
            ON: yes
        command: >-
            postgres -c shared_buffers=128MB
              -c work_mem=4MB
        volumes:
        - data:/var/lib/postgresql/data
        -   ./init:/docker-entrypoint-initdb.d:ro

"""
TAIL = """
    cache:      # not ours
        driver: local

networks: {default: {}}
# the end, without a newline"""

# How the volume is written, and what becomes of it: lines that begin with - go, with + come, others stay.
WRITTEN = {
    "empty": "     data:\n+        external: true\n+        name: atra_data\n",
    "empty with a comment": "     data:   # rows\n+        external: true\n+        name: atra_data\n",
    "null": "-    data: null  # rows\n+    data:  # rows\n+        external: true\n+        name: atra_data\n",
    "tilde": "-    data: ~\n+    data:\n+        external: true\n+        name: atra_data\n",
    "braces": "-    data: {}   # rows\n+    data: {external: true, name: atra_data}   # rows\n",
    "braces over lines": (
        "-    data: {driver: local,\n-      labels: {a: b}}\n+    data: {external: true, name: atra_data}\n"
    ),
    "an alias": "-    data: *logging  # rows\n+    data: {external: true, name: atra_data}  # rows\n",
    "a merge": "     data:\n+        external: true\n+        name: atra_data\n-        <<: *logging\n",
    "a name": "     data:\n+        external: true\n-        name: other   # look\n+        name: atra_data   # look\n",
    "a driver": (
        "     data:   # rows\n+        external: true\n+        name: atra_data\n-        driver: local\n"
        "         # kept\n-        labels:\n-            - a=b   # gone\n"
    ),
    "everything": (
        "     data:\n-        name: 'x'\n+        name: atra_data\n-        driver: nfs\n-        driver_opts:\n"
        "-            o: |\n-                a\n-                b\n-            type: {x: [y, z]}\n"
        "-        external: false\n+        external: true\n\n         # the last word\n"
    ),
    "the old way": (
        "     data:\n+        name: atra_data\n-        external:\n-            name: other  # x\n"
        "+        external: true  # x\n"
    ),
    "external without a name": "     data:\n+        name: atra_data\n         external: true\n",
    "an anchor of its own": (
        "     data: &own\n+        external: true\n+        name: atra_data\n-        driver: local\n"
    ),
    "quoted": "-    \"data\": {}\n+    \"data\": {\"external\": true, \"name\": \"atra_data\"}\n",
    "pinned already": "     data:\n         external: true\n         name: atra_data   # yes\n",
    "pinned in quotes": "     data: {name: 'atra_data', external: true}\n",
    "pinned in another spelling": "     data: {name: atra_data, external: True}\n",
    "pinned the old way": "     data:\n         external:\n             name: atra_data\n",
    "pinned with a note": "     data:\n         external: yes\n         name: atra_data\n         x-note: a\n",
    "another spelling and name": (
        "     data:\n         external: True  # x\n-        name: other\n+        name: atra_data\n"
    ),
}  # fmt: skip


def before_and_after(written: str) -> tuple[str, str]:
    lines = written.splitlines(keepends=True)
    before = "".join(line[1:] if line[0] in " -" else line for line in lines if line[0] != "+")
    after = "".join(line[1:] if line[0] in " +" else line for line in lines if line[0] != "-")
    return HEAD + "volumes:\n" + before + TAIL, HEAD + "volumes:\n" + after + TAIL


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "dos"])
def test_only_the_lines_of_the_volume_differ(written: str, newline: str) -> None:
    before, after = (each.replace("\n", newline) for each in before_and_after(written))

    made = pin(before, "data", "atra_data").text

    assert "".join(difflib.unified_diff(after.splitlines(True), made.splitlines(True))) == ""
    assert pin(made, "data", "atra_data").text == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("volumes: {data: }", "volumes: {data: {external: true, name: kept} }"),
        ("volumes: {data: {}, b: {}}\n", "volumes: {data: {external: true, name: kept}, b: {}}\n"),
        ("volumes: {data, b: {}}\n", "volumes: {data: {external: true, name: kept}, b: {}}\n"),
        ("volumes: {data: null, b: }\n", "volumes: {data: {external: true, name: kept}, b: }\n"),
        ('{"volumes": {"data": {}}}', '{"volumes": {"data": {"external": true, "name": "kept"}}}'),
        ("volumes:\n  data:", "volumes:\n  data:\n    external: true\n    name: kept"),
        ("volumes:\n  data: # end", "volumes:\n  data: # end\n    external: true\n    name: kept"),
        ("\ufeffvolumes:\n  data:\n", "\ufeffvolumes:\n  data:\n    external: true\n    name: kept\n"),
        ("volumes:\n data:\n  driver: x", "volumes:\n data:\n  external: true\n  name: kept\n"),
        ("---\nvolumes:\n  data:\n...\n", "---\nvolumes:\n  data:\n    external: true\n    name: kept\n...\n"),
    ],
)
def test_short_files_are_pinned(text: str, expected: str) -> None:
    assert pin(text, "data", "kept").text == expected


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a-b_c.d", "a-b_c.d"),
        ("123", '"123"'),
        ("1e5", '"1e5"'),
        ("true", '"true"'),
        ("No", '"No"'),
        ("0x1f", '"0x1f"'),
    ],
)
def test_a_name_is_a_string_whatever_it_looks_like(name: str, written: str) -> None:
    text = pin("volumes:\n  data:\n", "data", name).text
    assert f"name: {written}\n" in text
    assert YAML(typ="safe").load(text) == {"volumes": {"data": {"external": True, "name": name}}}


@pytest.mark.parametrize(
    ("entry", "added"),
    [
        ("", ["external: true", "name: atra_data"]),
        ("{name: atra_data, driver: local}", ["external: true"]),
        ("{external: on, name: other}", ["name: atra_data"]),
        ("{external: {name: other}}", ["external: true", "name: atra_data"]),
        ("{external: true, name: atra_data}", []),
        ("{external: true, name: atra_data, driver: local}", []),
    ],
)
def test_only_lines_that_are_new_are_named(entry: str, added: list[str]) -> None:
    assert pin(f"volumes: {{data: {entry}}}\n", "data", "atra_data").added == added


def test_an_external_volume_has_the_name_of_its_key() -> None:
    text = "x: &x {external: true}\nvolumes: {data: {external: true}, other: {<<: *x}}\n"
    assert pin(text, "data", "data") == Pinned(text, [])
    assert pin(text, "other", "other") == Pinned(text, [])
    assert pin(text, "data", "atra_data").text != text


def test_what_files_say_one_after_the_other_counts_together() -> None:
    first, second, third = (child(read(f"data: {each}"), "data") for each in ("{name: a}", "{external: true}", "{}"))
    assert is_pinned([first, second, None, third], "data", "a")
    assert not is_pinned([first, third], "data", "a")
    assert not is_pinned([first, second, child(read("a: {name: b}"), "a")], "data", "a")
    assert not is_pinned([first, second, child(read("a: {driver: local}"), "a")], "data", "a")


def test_what_had_to_go_is_named() -> None:
    text = "volumes:\n  data:\n    driver: local\n    labels: {secret: x}\n    x-note: y\n"
    assert pin(text, "data", "kept").dropped == ["driver", "labels"]


@pytest.mark.parametrize(
    "text",
    [
        "volumes:\n  v:\n    x-owner: me\n    labels: {a: b}\n",
        "volumes: {v: {labels: {a: b}, x-owner: me}}\n",
        '{"volumes": {"v": {"labels": {"a": "b"}, "x-owner": "me"}}}\n',
    ],
)
def test_an_extension_which_compose_allows_there_stays(text: str) -> None:
    made = pin(text, "v", "p")
    entry = {"external": True, "name": "p", "x-owner": "me"}
    assert YAML(typ="safe").load(made.text) == {"volumes": {"v": entry}}
    assert made.dropped == ["labels"]


@pytest.mark.parametrize(
    ("entries", "special"),
    [
        (["{}"], []),
        (["{driver: local, labels: {a: b}, driver_opts: {}}"], []),
        (["{driver: local, driver_opts: {type: none, o: bind, device: /srv/pg}}"], ["driver_opts"]),
        (["{driver: '${DRIVER}'}"], ["driver"]),
        (["{driver: nfs, driver_opts: {a: b}}", "{name: x}"], ["driver", "driver_opts"]),
        (["{driver: nfs}", "{driver: local}"], []),
    ],
)
def test_what_makes_a_volume_no_plain_one_is_named(entries: list[str], special: list[str]) -> None:
    assert kept_elsewhere([child(read(f"data: {each}"), "data") for each in entries]) == special


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("volumes:\n  a: &a {driver: local}\n  data: *a\n  b: *a\n", None),
        ("volumes:\n  data: &a {driver: local}\n  b: *a\n", "shares its lines"),
        ("volumes:\n  data: &a\n    driver: local\n  b: *a\n", "shares its lines"),
        ("x: &v {data: {}}\nvolumes: *v\n", "shares its lines"),
        ("x: &v {data: {}}\nvolumes: *v\ny: *v\n", "shares its lines"),
        ("x: &v {data: {}}\nvolumes: {<<: *v}\n", "is not declared where"),
        ("volumes:\n  other:\n", "is not declared where"),
        ("services: {}\n", "is not declared where"),
        ("a: 1\n---\nb: 2\n", "more than one document"),
        ("volumes: [\n", r"not valid YAML.*\(line 2\)"),
        ("- a\n", "holds no mapping"),
        ("", "holds no mapping"),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text: str, why: str | None) -> None:
    if why is None:
        before, after = (YAML(typ="safe").load(each) for each in (text, pin(text, "data", "kept").text))
        changed = {**before["volumes"], "data": {"external": True, "name": "kept"}}
        assert after["volumes"] == changed
        return
    with pytest.raises(ComposeFileError, match=why):
        pin(text, "data", "kept")


KEYS = st.sampled_from(["driver", "driver_opts", "labels", "name", "external", "x-a"])
VALUES = st.recursive(
    st.sampled_from([None, True, "local", "a b", "two\nlines\n", "#no", "x: y", "'q'", 7]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b c", "d"]), inner, max_size=3),
    max_leaves=6,
)


@given(
    entry=st.none() | st.dictionaries(KEYS, VALUES, max_size=5),
    flow=st.booleans(),
    indent=st.integers(2, 5),
    comment=st.booleans(),
)
def test_any_entry_is_pinned_and_nothing_else_changes(
    entry: dict[str, object] | None, flow: bool, indent: int, comment: bool
) -> None:
    import io

    yaml = YAML(pure=True)
    yaml.default_flow_style = flow
    yaml.indent(mapping=indent, sequence=indent, offset=indent - 2)
    out = io.StringIO()
    yaml.dump({"services": {"db": {"image": "x"}}, "volumes": {"a": {}, "data": entry, "z": {"driver": "local"}}}, out)
    text = out.getvalue() + ("# the end\n" if comment else "")

    made = pin(text, "data", "atra_data").text

    loaded = YAML(typ="safe").load(made)
    assert loaded["volumes"] == {
        "a": {},
        "data": {"external": True, "name": "atra_data"} | {k: v for k, v in (entry or {}).items() if k[:2] == "x-"},
        "z": {"driver": "local"},
    }
    assert loaded["services"] == {"db": {"image": "x"}}
    assert made.endswith("# the end\n") or not comment


# Reading


MOUNTED = [
    ("- data:/var/lib/postgresql/data", Source("named", "data")),
    ("- data:/var/lib/postgresql/data/:ro,z", Source("named", "data")),
    ("- ./data:/var/lib/postgresql/data", Source("path", "./data")),
    ("- /srv:/var/lib/postgresql/data", Source("path", "/srv")),
    ("- ~/pg:/var/lib/postgresql/data", Source("path", "~/pg")),
    ('- "C:\\\\pg:/var/lib/postgresql/data"', Source("path", "C:\\pg")),
    ("- ${VOL:-a:b}:/var/lib/postgresql/data", Source("variable", "${VOL:-a:b}")),
    ("- $VOL:/var/lib/postgresql/data", Source("variable", "$VOL")),
    ("- /var/lib/postgresql/data", Source("anonymous", "")),
    ("- data:${PGDATA}", None),
    ("- data:/elsewhere", None),
    ("- {type: volume, source: data, target: /var/lib/postgresql/data}", Source("named", "data")),
    ("- {type: volume, src: data, dst: /var/lib/postgresql/data/}", Source("named", "data")),
    ("- {type: volume, target: /var/lib/postgresql/data}", Source("anonymous", "")),
    ("- {type: bind, source: data, target: /var/lib/postgresql/data}", Source("path", "data")),
    ("- {type: tmpfs, target: /var/lib/postgresql/data}", Source("path", "")),
    ("- a:/var/lib/postgresql/data\n    - b:/var/lib/postgresql/data", Source("named", "b")),
    ("- data:/var/lib/postgresql/data\n    - x:/y", Source("named", "data")),
]


@pytest.mark.parametrize(("entry", "expected"), MOUNTED, ids=[each[0] for each in MOUNTED])
def test_what_a_service_mounts_is_read_in_every_syntax(entry: str, expected: Source | None) -> None:
    root = read(f"services:\n  db:\n    volumes:\n    {entry}\n")
    assert source_at(root, "db", "/var/lib/postgresql/data") == expected
    assert source_at(root, "other", "/var/lib/postgresql/data") is None


@pytest.mark.parametrize("entry", ["''", "':'", "'::'"])
def test_an_empty_entry_mounts_nothing(entry: str) -> None:
    root = read(f"services: {{db: {{volumes: [{entry}]}}}}")
    assert source_at(root, "db", "/d") is None
    assert services_with(root, "data") == []


def test_a_mapping_that_merges_in_itself_is_read_once() -> None:
    root = read("volumes: &x {data: {external: true}, <<: *x}\n")
    assert has_volume(root, "data")
    assert not has_volume(root, "other")


def test_merged_services_are_read_too() -> None:
    text = "x: &x {volumes: ['data:/d']}\nservices:\n  db: {<<: [*x], image: a}\n  b: {volumes: [{source: data}]}\n"
    assert source_at(read(text), "db", "/d") == Source("named", "data")
    assert services_with(read(text), "data") == ["db", "b"]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("", "p_data"),
        ("{}", "p_data"),
        ("{name: own}", "own"),
        ("{external: true}", "data"),
        ("{external: true, name: own}", "own"),
        ("{external: {name: old}}", "old"),
        ("{external: {}}", "data"),
        ("{external: false}", "p_data"),
        ("{external: True}", "data"),
        ("{external: 'yes', name: own}", "own"),
    ],
)
def test_a_volumes_name_is_what_compose_makes_of_it(entry: str, name: str) -> None:
    root = read(f"volumes: {{data: {entry}}}")
    assert has_volume(root, "data")
    assert not has_volume(root, "other")
    assert volume_name(root, "data", "p") == name
