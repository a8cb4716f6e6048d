"""The control file as we read it, against what pg_controldata of the same version says."""

import subprocess
from datetime import UTC, datetime

import pytest

from tasks.containers.control_file import ControlFile, parse
from tests.bed import images
from tests.bed.labels import Bed

# High log positions and another timeline, so that no field is read from a neighbour's place unnoticed; and a server
# that was started later than the last checkpoint was made, then killed.
MAKE_AND_READ = """
set -e
install -d -o postgres -m 700 /tmp/data
as() { setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/tmp "$@"; }
as initdb -D /tmp/data > /dev/null 2>&1
as pg_resetwal -D /tmp/data -l 00000007000000AB000000CD -e 3 > /dev/null
if [ "$1" = killed ]; then
    second=$(date +%s); while [ "$(date +%s)" = "$second" ]; do :; done
    as pg_ctl -D /tmp/data -o "-c listen_addresses=''" -w -l /tmp/log start > /dev/null
    kill -9 $(head -1 /tmp/data/postmaster.pid)
fi
TZ=UTC LC_ALL=C pg_controldata /tmp/data
echo; od -An -v -tx1 -N512 /tmp/data/global/pg_control | tr -d ' \\n'
"""


def read_both(bed: Bed, version: int, how: str) -> tuple[dict[str, str], ControlFile]:
    labels = [f"--label={name}={value}" for name, value in bed.labels.items()]
    line = ["docker", "run", "--rm", *labels, "--network=none", "--entrypoint=bash", images.tag(version)]
    ran = subprocess.run(
        [*line, "-c", MAKE_AND_READ, "sh", how], capture_output=True, text=True, timeout=300, check=True
    )
    said, _, content = ran.stdout.rpartition("\n\n")
    fields = {name: value.strip() for name, _, value in (each.partition(":") for each in said.splitlines())}
    return fields, parse(bytes.fromhex(content))


def when(text: str) -> datetime:
    return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)


def whole(text: str) -> int:
    """A transaction id with its epoch, as pg_controldata writes it: `epoch:id`."""
    epoch, xid = text.split(":")
    return (int(epoch) << 32) + int(xid)


@pytest.mark.parametrize("how", ["shut down", "killed"])
@pytest.mark.parametrize("version", images.VERSIONS)
def test_every_field_is_what_pg_controldata_says(bed: Bed, version: int, how: str) -> None:
    said, found = read_both(bed, version, how)

    assert found == ControlFile(
        system_identifier=said["Database system identifier"],
        control_version=int(said["pg_control version number"]),
        catalog_version=int(said["Catalog version number"]),
        state=said["Database cluster state"],
        checkpoint_lsn=said["Latest checkpoint location"],
        timeline=int(said["Latest checkpoint's TimeLineID"]),
        changed_at=when(said["pg_control last modified"]),
        checkpoint_at=when(said["Time of latest checkpoint"]),
        sound=True,
        next_xid=whole(said["Latest checkpoint's NextXID"]),
    )
    assert found.timeline == 7
    assert found.next_xid is not None
    assert found.next_xid >> 32 == 3
    assert found.clean == (how == "shut down")
    if how == "killed":  # An orderly end writes both within one second, or just across its boundary.
        assert found.changed_at > found.checkpoint_at  # type: ignore[operator]
