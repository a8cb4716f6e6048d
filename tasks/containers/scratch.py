"""A scratch PostgreSQL server on a volume: no port, no network, no name; reached through a socket in a folder of ours.

Nothing of the image's or the data's own start-up takes effect: not the entry point with its init scripts, not the
data's configuration files, not what archives, replicates, recovers to a target or runs jobs.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import Mount
from docker.utils.socket import STDOUT, frames_iter

from tasks.containers.engine import OUR_LABEL, shares_this_kernel
from tasks.containers.leash import last_words
from tasks.errors import EngineError, RestoreFailed
from tasks.models import Model

START_SECONDS = 300.0
STOP_SECONDS = 900
ASK_EVERY = 0.1
FEW_SECONDS = 120.0

# PostgreSQL documentation, Server Configuration. On the command line they win over postgresql.auto.conf, too. Numbers
# are as large as any data may need in order to start: slots and prepared transactions are in the data itself.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": "/rollcall",
    "hba_file": "/rollcall/pg_hba.conf",
    "config_file": "/rollcall/postgresql.conf",
    "ident_file": "/rollcall/pg_ident.conf",
    "shared_preload_libraries": "",
    "archive_mode": "off",
    "archive_command": "",
    "restore_command": "",
    "primary_conninfo": "",
    "wal_level": "logical",
    "max_replication_slots": "100",
    "max_prepared_transactions": "1000",
    "max_locks_per_transaction": "1024",
    "max_logical_replication_workers": "0",
    "ssl": "off",
    "logging_collector": "off",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "huge_pages": "off",
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    "jit": "off",
}

PREPARE = """
set -e
cd "$1"
owner=$(id -u postgres):$(id -g postgres)
mkdir -p "$2"
folder=$2
while :; do
  chown "$owner" "$folder"
  [ "$folder" = "$1" ] && break
  folder=$(dirname "$folder")
done
chmod 0700 "$2"
if [ -e "$2/standby.signal" ] || [ -e "$2/recovery.signal" ]; then echo "it is a standby or in recovery" >&2; exit 7; fi
"""


class Place(Model):
    """Where a volume is mounted, and where in it PGDATA lies, both as paths inside a container."""

    destination: str
    pgdata: str


class Scratch:
    """The running server. `socket` is its socket's folder: the host to connect to, as any role, without password."""

    def __init__(self, client: docker.DockerClient, container_id: str, socket: Path, place: Place) -> None:
        self._client, self._id, self.socket, self.place = client, container_id, socket, place

    def run(
        self, command: Sequence[str], stdin: Iterable[bytes] | None = None, *, deadline: float = FEW_SECONDS
    ) -> str:
        """Run a program beside the server and return what it printed. Raise RestoreFailed with its last words."""
        api = self._client.api
        started = api.exec_create(
            self._id, list(command), stdin=stdin is not None, stdout=True, stderr=True, user="postgres"
        )
        stream = api.exec_start(started["Id"], socket=True)
        line = getattr(stream, "_sock", stream)
        watch = threading.Timer(deadline, _hang_up, [line])
        watch.start()
        try:
            feeder = threading.Thread(target=_feed, args=(line, stdin), daemon=True)
            feeder.start()
            output, errors = _read(stream)
            feeder.join()
        except OSError as error:
            raise RestoreFailed(f"{command[0]} did not end within {deadline:,.0f} s, or lost its server.") from error
        finally:
            watch.cancel()
            stream.close()
            line.close()
        status = api.exec_inspect(started["Id"])["ExitCode"]
        if status != 0:
            raise RestoreFailed(f"{command[0]} failed (exit {status}): {last_words(errors).rstrip('.')}.")
        return output

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files into PGDATA, owned by the server's user and readable by it alone."""
        owner = [int(each) for each in self.run(["sh", "-c", "id -u; id -g"]).split()]
        self._client.api.put_archive(self._id, self.place.pgdata, _archive(files, owner))

    def stop(self) -> None:
        """Shut the server down and see that it was clean. Raise RestoreFailed if it was not."""
        self._client.api.stop(self._id, timeout=STOP_SECONDS)
        state = self._client.api.inspect_container(self._id)["State"]
        if state["ExitCode"] != 0:
            raise RestoreFailed(f"The scratch server did not shut down cleanly: {_log_of(self._client, self._id)}")

    def logs(self) -> str:
        """The end of what it said."""
        return _log_of(self._client, self._id)


def _feed(line: Any, chunks: Iterable[bytes] | None) -> None:
    with contextlib.suppress(OSError):
        for chunk in chunks or ():
            line.sendall(chunk)
        line.shutdown(1)


def _read(stream: Any) -> tuple[str, str]:
    output, errors = bytearray(), bytearray()
    for kind, chunk in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]
        (output if kind == STDOUT else errors).extend(chunk)
    return output.decode(errors="replace"), errors.decode(errors="replace")


def _hang_up(line: Any) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(2)


def _archive(files: Mapping[str, bytes], owner: Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, (entry.uid, entry.gid) = len(content), 0o600, owner
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def scratch_server(
    client: docker.DockerClient,
    *,
    image_id: str,
    volume: str,
    place: Place,
    owner: str,
    initdb: Sequence[str] | None = None,
    binds: Mapping[Path, str] | None = None,
    ready: Callable[[Path], bool],
    settings: Mapping[str, str] | None = None,
) -> Iterator[Scratch]:
    """A server of `image_id` on `volume`, initialised with `initdb`'s arguments where they are given.

    ready: told the socket's folder, says whether the server takes connections. binds: folders of ours, by path, that
    the server may read. settings: over the scratch server's own. Raise RestoreFailed if it ends or does not answer in
    time, EngineError where the engine is not on this machine. Container and folder are gone after the block.
    """
    if not shares_this_kernel(client):
        raise EngineError(
            "A scratch server can only be reached on the Docker engine's own machine; run this there, outside of any "
            "container."
        )
    folder = Path(tempfile.mkdtemp(prefix="rollcall-"))
    container_id = None
    try:
        _prepare(client, image_id, volume, place, owner)
        socket = _socket_folder(folder)
        script = _script(place, initdb, {**SETTINGS, **(settings or {})})
        mounts = {socket: "/rollcall", **(binds or {})}
        container_id = _create(client, image_id, script, volume, place, owner, mounts)
        client.api.start(container_id)
        _await(client, container_id, socket, ready)
        yield Scratch(client, container_id, socket, place)
    finally:
        if container_id is not None:
            with contextlib.suppress(APIError):
                client.api.remove_container(container_id, force=True, v=False)
        shutil.rmtree(folder, ignore_errors=True)


def _socket_folder(folder: Path) -> Path:
    """The server's user must write there; only we pass through the folder above it."""
    socket = folder / "s"
    socket.mkdir()
    (socket / "pg_hba.conf").write_text("local all all trust\n")
    (socket / "pg_ident.conf").write_text("")
    (socket / "postgresql.conf").write_text("# What counts is on the command line.\n")
    socket.chmod(0o777)
    return socket


def _script(place: Place, initdb: Sequence[str] | None, settings: Mapping[str, str]) -> str:
    given = " ".join(shlex.quote(f"--{name}={value}") for name, value in settings.items())
    pgdata = shlex.quote(place.pgdata)
    first = "" if initdb is None else f"initdb --pgdata={pgdata} {shlex.join(initdb)} >/dev/null || exit 8; "
    return f"{first}exec postgres -D {pgdata} {given}"


def _create(
    client: docker.DockerClient,
    image_id: str,
    script: str,
    volume: str,
    place: Place,
    owner: str,
    binds: Mapping[Path, str],
) -> str:
    mounts = [Mount(place.destination, volume, type="volume")]
    mounts += [Mount(inside, str(path), type="bind") for path, inside in binds.items()]
    return _container(client, image_id, script, mounts, owner, place, user="postgres", capabilities=[])


def _container(
    client: docker.DockerClient,
    image_id: str,
    script: str,
    mounts: Sequence[Mount],
    owner: str,
    place: Place,
    *,
    user: str,
    capabilities: Sequence[str],
    arguments: Sequence[str] = (),
) -> str:
    image: dict[str, Any] = client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
    taken = {str(each["Target"]) for each in mounts}
    others = {path: "size=64m" for path in image["Config"].get("Volumes") or {} if path not in taken}
    made: dict[str, Any] = client.api.create_container(
        image_id,
        ["-c", script, "sh", *arguments],
        entrypoint=["sh"],
        user=user,
        labels={OUR_LABEL: owner},
        stop_signal="SIGINT",
        environment={"PGDATA": place.pgdata},
        host_config=client.api.create_host_config(
            mounts=list(mounts),
            network_mode="none",
            tmpfs=others,
            cap_drop=["ALL"],
            cap_add=list(capabilities),
            security_opt=["no-new-privileges"],
            shm_size="256m",
        ),
    )
    return str(made["Id"])


def one_off(
    client: docker.DockerClient,
    image_id: str,
    script: str,
    mounts: Sequence[Mount],
    owner: str,
    place: Place,
    *,
    user: str = "root",
    capabilities: Sequence[str] = (),
    arguments: Sequence[str] = (),
    deadline: float = FEW_SECONDS,
) -> str:
    """Run a script in a container of its own to its end and return what it printed.

    Raise RestoreFailed with its last words, or if it takes more than `deadline` seconds.
    """
    made = _container(
        client, image_id, script, mounts, owner, place, user=user, capabilities=capabilities, arguments=arguments
    )
    try:
        client.api.start(made)
        given_up = time.monotonic() + deadline
        while client.api.inspect_container(made)["State"]["Running"]:
            if time.monotonic() > given_up:
                raise RestoreFailed(f"It did not end within {deadline:,.0f} s.")
            time.sleep(ASK_EVERY)
        status = client.api.inspect_container(made)["State"]["ExitCode"]
        said = client.api.logs(made).decode(errors="replace")
        if status != 0:
            raise RestoreFailed(f"{last_words(said).rstrip('.')} (exit {status}).")
        return said
    finally:
        with contextlib.suppress(NotFound, APIError):
            client.api.remove_container(made, force=True, v=False)


def _prepare(client: docker.DockerClient, image_id: str, volume: str, place: Place, owner: str) -> None:
    """PGDATA in the volume, with the owner and rights that the server insists on."""
    mounts = [Mount(place.destination, volume, type="volume")]
    inside = str(PurePosixPath(place.pgdata))
    try:
        one_off(
            client, image_id, PREPARE, mounts, owner, place,
            capabilities=["CHOWN", "DAC_OVERRIDE", "FOWNER"], arguments=[place.destination, inside],
        )  # fmt: skip
    except RestoreFailed as error:
        raise RestoreFailed(f"The volume {volume} cannot be made ready for a scratch server: {error}") from error


def sync(client: docker.DockerClient, image_id: str, volume: str, place: Place, owner: str, deadline: float) -> None:
    """Write all of PGDATA to the disk (initdb --sync-only): the scratch server did not. Raise RestoreFailed."""
    mounts = [Mount(place.destination, volume, type="volume")]
    script = f"exec initdb --sync-only --pgdata={shlex.quote(place.pgdata)}"
    one_off(client, image_id, script, mounts, owner, place, user="postgres", deadline=deadline)


def _await(client: docker.DockerClient, container_id: str, socket: Path, ready: Callable[[Path], bool]) -> None:
    given_up = time.monotonic() + START_SECONDS
    while not ready(socket):
        state = client.api.inspect_container(container_id)["State"]
        if not state["Running"]:
            raise RestoreFailed(f"The scratch server does not start: {_log_of(client, container_id)}")
        if time.monotonic() > given_up:
            raise RestoreFailed(f"The scratch server does not answer within {START_SECONDS:,.0f} s.")
        time.sleep(ASK_EVERY)


def _log_of(client: docker.DockerClient, container_id: str) -> str:
    return last_words(client.api.logs(container_id, tail=20).decode(errors="replace"))
