"""What a scratch server is told, what its log tells, and which copies of a volume are none."""

from __future__ import annotations

import pytest

from tasks.containers.copying import checked
from tasks.containers.scratch_place import Place
from tasks.containers.scratch_settings import configuration, is_full, last_reason, scratch_settings
from tasks.errors import EngineError, RestoreFailed

CONTROL = {
    "wal_level setting": "logical",
    "max_prepared_xacts setting": "20",
    "track_commit_timestamp setting": "on",
    "max_connections setting": "500",
}
PLACE = Place(destination="/var/lib/postgresql", pgdata="/var/lib/postgresql/18/docker")


def test_a_server_gets_what_its_data_needs_and_nothing_that_acts() -> None:
    settings = scratch_settings(CONTROL, {"timezone": "UTC", "archive_mode": "on", "wal_level": "minimal"}, 17)
    assert settings["wal_level"] == "minimal"
    assert settings["max_prepared_transactions"] == "20"
    assert settings["track_commit_timestamp"] == "on"
    assert settings["archive_mode"] == "off"
    assert settings["shared_preload_libraries"] == ""
    assert settings["log_min_error_statement"] == "panic"
    assert settings["timezone"] == "UTC"
    assert settings["event_triggers"] == "off"
    assert "event_triggers" not in scratch_settings(CONTROL, {}, 16)
    assert scratch_settings(CONTROL, {}, 16)["wal_level"] == "logical"


def test_values_are_quoted_as_the_server_reads_them() -> None:
    assert (
        configuration({"app.name": "it's a \\ here", "ssl": "off"}) == "app.name = 'it''s a \\\\ here'\nssl = 'off'\n"
    )


LOGS = [
    ("LOG:  starting\nFATAL:  could not load \"x\"\nLOG:  shut down\n", 'FATAL: could not load "x"'),
    ("2026-11-25 [1] FATAL:  lock file exists\n2026 HINT:  Is another running?\n",
     "FATAL: lock file exists HINT: Is another running?"),
    ('LOG:  invalid value for parameter "x"\nFATAL:  configuration file "y" contains errors\n',
     'LOG: invalid value for parameter "x" FATAL: configuration file "y" contains errors'),
    ("only this\n", "only this"),
    ("", "it said nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "reason"), LOGS)
def test_the_reason_is_found_in_a_log(log: str, reason: str) -> None:
    assert last_reason(log) == reason


def test_a_full_disk_is_told_from_too_little_shared_memory() -> None:
    assert is_full("pg_restore: error: could not extend file: No space left on device")
    assert is_full("FATAL: x\nPANIC: could not write: Disk quota exceeded")
    assert not is_full("ERROR: could not resize shared memory segment: No space left on device")


def test_pgdata_must_be_on_the_volume() -> None:
    assert PLACE.below == "18/docker"
    assert Place(destination="/data", pgdata="/data").below == ""
    for destination, pgdata in [("/data", "/elsewhere"), ("/data", "/data/../etc"), ("", "/data")]:
        with pytest.raises(EngineError, match="is not on the volume"):
            _ = Place(destination=destination, pgdata=pgdata).below


def test_the_version_of_a_copied_cluster_is_told() -> None:
    assert checked("version 18\n", "v", PLACE) == 18
    assert checked("version 9.6\nlink pg_tblspc/1 /var/lib/postgresql/fast one\n", "v", PLACE) == 9


BAD = [
    ("no cluster", "holds no PostgreSQL cluster in 18/docker"),
    ("version 18\nrecovering standby.signal", "follows another or is being recovered"),
    ("version 18\nlink pg_wal /wal", "its pg_wal leads out of the volume, to /wal"),
    ("version 18\nlink pg_tblspc/16400 /ssd", "its pg_tblspc/16400 leads out of the volume"),
]


@pytest.mark.parametrize(("facts", "told"), BAD)
def test_what_cannot_be_copied_is_refused(facts: str, told: str) -> None:
    with pytest.raises(RestoreFailed, match=told):
        checked(facts, "v", PLACE)
