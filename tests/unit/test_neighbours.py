"""Which command lines are a PostgreSQL server's, and where it keeps its data."""

import pytest

from tasks.containers.observe import directory_in, options_in
from tasks.containers.processes import is_server
from tasks.containers.volumes import roots_of


@pytest.mark.parametrize(
    ("command", "serves", "directory"),
    [
        ("postgres", True, None),
        ("/usr/lib/postgresql/17/bin/postgres -D /data -c fsync=off", True, "/data"),
        ("/opt/bitnami/postgresql/bin/postgres -D /bitnami/data --config-file=/x", True, "/bitnami/data"),
        ("postmaster -D/data", True, "/data"),
        ("postgres -c data_directory=/elsewhere", True, "/elsewhere"),
        ("postgres --data-directory=/elsewhere", True, "/elsewhere"),
        ("initdb --pgdata=/data", True, "/data"),
        ("/bin/bash /usr/local/bin/docker-entrypoint.sh postgres -D /data", True, "/data"),
        ("gosu postgres /usr/local/bin/docker-entrypoint.sh postgres", True, None),
        ("/bin/sh /docker-entrypoint.sh backup --host postgres", False, None),
        ("docker-entrypoint.sh", False, None),
        ("postgres: checkpointer", False, None),
        ("postgres_exporter", False, None),
        ("pg_dump -U postgres", False, None),
        ("sh -c pg_dump postgres", False, None),
        ("", False, None),
    ],
)
def test_a_server_is_known_by_its_command_line(command: str, serves: bool, directory: str | None) -> None:
    assert is_server(command.split()) is serves
    assert directory_in(options_in(command.split())) == directory


def test_volumes_that_show_one_folder_have_one_root() -> None:
    plain = {"Name": "plain", "Mountpoint": "/docker/plain/_data"}
    bind = {
        "Name": "bind",
        "Mountpoint": "/x",
        "Options": {"type": "none", "o": "bind,ro", "device": "/docker/plain/_data"},
    }
    share = {"type": "nfs", "o": "addr=10.0.0.1,rw", "device": ":/exports/pg"}
    found = roots_of(
        [
            plain,
            bind,
            {"Name": "one", "Mountpoint": "/a", "Options": share},
            {"Name": "two", "Mountpoint": "/b", "Options": share | {"o": "ro,addr=10.0.0.1"}},
            {"Name": "memory", "Mountpoint": "/m", "Options": {"type": "tmpfs", "device": "tmpfs"}},
            {"Name": "plugin", "Mountpoint": ""},
        ]
    )
    assert found["bind"] == found["plain"] == "/docker/plain/_data"
    assert found["one"] == found["two"] != found["plain"]
    assert (found["memory"], found["plugin"]) == ("/m", "volume:plugin")
