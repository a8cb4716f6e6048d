"""What a finding's code says in a title, and what to do about it: the short form of docs/findings.md."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """words: what is wrong, for a title. step: what to do next; `{target}` and `{table}` are filled in."""

    words: str
    step: str


# Commands come first: a long target's name may cut the end of a line.
_LOOK = "rollcall verify {target}"
_MEANT = "rollcall accept {target} --reason TEXT, if this was meant"
_ROWS_BACK = "rollcall backups {target}; meant? rollcall accept {target} --reason TEXT"
_RIGHT_ONE = "put the right cluster back; rollcall backups {target} lists what can bring it"
_BACK_UP = "rollcall backup {target}"
_NOTHING = "nothing to do"

# In this order they lead a title: a wrong volume explains missing rows, never the other way round.
CODES: dict[str, Code] = {
    "volume.mismatch": Code(
        "wrong volume", "put the pinned volume back (never down -v), then rollcall verify {target}"
    ),
    "volume.missing": Code("pinned volume missing", "do not start it on an empty one; rollcall backups {target}"),
    "volume.shared": Code(
        "another server on the volume", "docker stop the one that nobody uses, then rollcall verify {target}"
    ),
    "cluster.changed": Code("another database cluster", _RIGHT_ONE),
    "cluster.rewound": Code("cluster is an older copy", _RIGHT_ONE),
    "container.missing": Code(
        "container missing", "start it again (docker compose up -d); then rollcall verify {target}"
    ),
    "container.stopped": Code("container stopped", "see docker logs for why, start it; then rollcall verify {target}"),
    "database.unreachable": Code("database unreachable", "see the container's logs; then " + _LOOK),
    "table.missing": Code("{table} missing", _ROWS_BACK),
    "rows.below_min": Code("{table} below its minimum", _ROWS_BACK),
    "rows.dropped": Code("{table} lost rows", _ROWS_BACK),
    "database.missing": Code("a database is gone", _ROWS_BACK),
    "database.not_dumped": Code("a database could not be backed up", "see why, fix that; then " + _BACK_UP),
    "history.lost": Code("history lost, nothing to judge by", "bring the storages back; then " + _LOOK),
    "history.unknown": Code(
        "a storage is silent, and nothing is known to judge by", "mend or bring back the storage; then " + _LOOK
    ),
    "clock.wrong": Code("a clock is wrong", "set the clock of the machine that backs up"),
    "backup.damaged": Code("a stored backup is damaged", _BACK_UP),
    "backup.failed": Code("backup failed", _BACK_UP),
    "backup.missing": Code("no good backup", _BACK_UP),
    "backup.stale": Code("backup too old", _BACK_UP),
    "storage.unreachable": Code("storage unreachable", "bring the storage back; then " + _BACK_UP),
    "schema.changed": Code("schema changed", _MEANT),
    "volume.not_pinned": Code("volume not pinned", "pin it in the compose file (external: true and its name)"),
    "volume.look_alike": Code(
        "a volume like the pinned one was made", "start {target} from one compose project only; pin its volume there"
    ),
    "table.misnamed": Code("rule for {table} not applied", "mend tables in the configuration; then " + _LOOK),
    "table.unknown": Code("no table {table}", "mend tables in the configuration; then " + _LOOK),
    "notification.failed": Code(
        "notification undelivered", "mend notify in the configuration; then rollcall verify {target}"
    ),
    "container.renamed": Code("container renamed", "mend container in the configuration; then " + _LOOK),
    "project.changed": Code("started from another compose project", "start it from one project only"),
    "server.upgraded": Code("server upgraded", _BACK_UP),
    "cluster.pinned": Code("cluster pinned", _NOTHING),
}

ROW_CODES = frozenset({"table.missing", "rows.below_min", "rows.dropped"})
_ORDER = {code: place for place, code in enumerate(CODES)}


def rank(code: str) -> int:
    """Where a code stands in a title, from 0; one that is not listed comes last."""
    return _ORDER.get(code, len(_ORDER))


def words(code: str, table: str = "") -> str:
    """The title words of a code; one that is not listed speaks for itself (`a.b_c` becomes `a b c`)."""
    known = CODES.get(code)
    return known.words.format(table=table) if known else code.replace(".", " ").replace("_", " ")


def step(code: str, target: str) -> str:
    """What to do next about a code."""
    return CODES.get(code, Code("", _LOOK)).step.format(target=target)
