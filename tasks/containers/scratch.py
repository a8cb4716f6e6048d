"""A scratch PostgreSQL server on a volume: reached by nobody but us, and nothing of what it was once told to do.

It has no network; its one door is a socket in a folder of ours, whose parent only we may enter. It reads a
configuration of its own: the old one may archive, replicate, recover to some point or run scheduled jobs, and none of
that may happen to data that is being looked at.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import docker
import psycopg
from docker.types import Mount

from tasks.containers.engine import engine, shares_this_kernel
from tasks.containers.leashed import Leashed, ProgramFailed, leashed
from tasks.containers.program_folder import path_with
from tasks.containers.scratch_place import Place, prepare
from tasks.containers.scratch_settings import PORT, configuration, is_full, last_reason, scratch_settings
from tasks.containers.shared_folders import shown, why_not_shown
from tasks.containers.volumes import find_volume
from tasks.errors import EngineError, RestoreFailed
from tasks.sections import Docker

START_SECONDS = 3600.0
SIZE_SECONDS = 20.0

# Every program in a scratch container speaks to this server and English.
SURROUNDINGS = {"PGHOST": "/rollcall", "PGPORT": str(PORT), "LC_ALL": "C", "HOME": "/tmp"}  # noqa: S108

SUPERUSER = (
    b"SELECT 'found ' || encode(textsend(rolname::text), 'hex') AS said FROM pg_authid "
    b"WHERE rolsuper AND rolcanlogin ORDER BY oid <> 10, oid LIMIT 1\n"
)


class Scratch:
    """A server that only we reach.

    volume: what it runs on; socket: the folder of its socket; user: a superuser who may log in, without a password;
    major: its version; where: the engine that it is on, as `engine` is asked for it.
    """

    def __init__(self, box: Leashed, folder: Path, volume: str, place: Place, deadline: float) -> None:
        self._box, self.volume, self._place, self._deadline = box, volume, place, deadline
        self.socket, self.user, self.major = folder, "", 0
        self.where: Docker | None = None
        self._surroundings = SURROUNDINGS
        self._running = False

    def run(
        self,
        command: Sequence[str],
        stdin: Iterable[bytes] | None = None,
        deadline: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """What a program in the server's container prints, run as the server's own user, with `stdin` streamed to it.

        Raise ProgramFailed with its last words, RestoreFailed if the disk is full, the server has ended or `deadline`
        seconds are over.
        """
        try:
            return self._box.run(command, stdin, deadline, {**self._surroundings, **(environment or {})})
        except ProgramFailed as error:
            raise self._explained(error) from error

    def find_programs(self, major: int) -> None:
        """Put the programs of PostgreSQL `major` on PATH, wherever the image has them. Raise RestoreFailed if it has
        none."""
        said = self._box.run(["sh", "-c", f'{path_with(major)}\necho "$folder"; echo "$PATH"; postgres --version'])
        folder, path, *version = said.splitlines()
        if not folder:
            other = f"runs {version[0]}" if version else "has no PostgreSQL server program at all"
            raise RestoreFailed(f"The data is of PostgreSQL {major}, and the image {other}: it cannot be used for it.")
        self.major, self._surroundings = major, {**SURROUNDINGS, "PATH": path}

    def _explained(self, error: ProgramFailed) -> RestoreFailed:
        """What a failed program comes from, where that is known better than it says."""
        log = self._log()
        if is_full(f"{error.words}\n{log}"):
            return RestoreFailed(
                f"The disk that holds the volume {self.volume} is full: {error} Make room there, then try again."
            )
        if self._running and not self._answers():
            return RestoreFailed(f"The scratch server on the volume {self.volume} has ended: {last_reason(log)}.")
        return error

    def _log(self) -> str:
        try:
            return self._box.run(["tail", "-c", "4000", "/rollcall/log"])
        except RestoreFailed:
            return ""

    def _answers(self) -> bool:
        try:
            self._connect()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> None:
        psycopg.connect(
            host=str(self.socket), port=PORT, user=self.user, dbname="template1", connect_timeout=10
        ).close()

    def control(self) -> dict[str, str]:
        """What pg_controldata says, by its own names."""
        lines = self.run(["pg_controldata", self._place.pgdata]).splitlines()
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def start(self, settings: Mapping[str, str]) -> None:
        """Start the server and return once it answers. Raise RestoreFailed with its last words if it ends instead."""
        text = configuration(scratch_settings(self.control(), settings, self.major))
        _put(self.socket / "postgresql.conf", text)
        self._move("postgresql.auto.conf", "rollcall.auto.conf")
        self.user = self.user or self._superuser()
        line = ["pg_ctl", "start", f"--pgdata={self._place.pgdata}", "--wait", f"--timeout={self._deadline:.0f}"]
        try:
            self.run([*line, "--log=/rollcall/log", "--options=-c config_file=/rollcall/postgresql.conf"],
                     deadline=self._deadline + 30)  # fmt: skip
        except ProgramFailed as error:
            reason = last_reason(self._log()) or error.words
            raise RestoreFailed(f"The scratch server on the volume {self.volume} does not start: {reason}.") from error
        self._running = True
        self._await_connection()

    def _move(self, file: str, to: str) -> None:
        """A server reads postgresql.auto.conf from PGDATA whatever else it is told: it must not be there."""
        script = '[ ! -e "$1" ] || mv "$1" "$2"'
        self.run(["sh", "-c", script, "sh", f"{self._place.pgdata}/{file}", f"{self._place.pgdata}/{to}"])

    def _superuser(self) -> str:
        """Who may log in as superuser, asked of a server in single-user mode, which asks nobody's name."""
        line = ["postgres", "--single", "-D", self._place.pgdata, "-c", "config_file=/rollcall/postgresql.conf"]
        try:
            said = self.run([*line, "template1"], [SUPERUSER], self._deadline)
        except ProgramFailed as error:
            reason = last_reason(error.words)
            raise RestoreFailed(f"The scratch server on the volume {self.volume} does not start: {reason}.") from error
        found = re.search(r'"found ([0-9a-f]+)"', said)
        if not found:
            raise RestoreFailed(f"The cluster in the volume {self.volume} has no superuser who may log in.")
        return bytes.fromhex(found[1]).decode(errors="replace")

    def _await_connection(self) -> None:
        given_up = time.monotonic() + 30
        while True:
            try:
                self._connect()
            except psycopg.OperationalError as error:
                if time.monotonic() > given_up:
                    said = " ".join(str(error).split())
                    raise RestoreFailed(
                        f"The scratch server on the volume {self.volume} takes no connection: {said}."
                    ) from error
                time.sleep(0.1)
            else:
                return

    def stop(self) -> dict[str, str]:
        """Shut the server down and return what pg_controldata says then. Raise RestoreFailed if that was not clean."""
        line = ["pg_ctl", "stop", f"--pgdata={self._place.pgdata}", "--mode=fast", "--wait"]
        self.run([*line, f"--timeout={self._deadline:.0f}"], deadline=self._deadline + 30)
        self._running = False
        control = self.control()
        if control.get("Database cluster state") != "shut down":
            raise RestoreFailed(
                f"The scratch server on the volume {self.volume} was not shut down cleanly "
                f"({control.get('Database cluster state')}): {last_reason(self._log())}."
            )
        self._move("rollcall.auto.conf", "postgresql.auto.conf")
        return control

    def put_file(self, name: str, content: bytes) -> None:
        """Write a file into PGDATA, or replace it: owned by the server's user and readable by nobody else."""
        script = 'umask 077 && cat > "$1.new" && mv "$1.new" "$1"'
        self.run(["sh", "-c", script, "sh", f"{self._place.pgdata}/{name}"], [content])

    def newest_bytes(self) -> int:
        """Bytes on the disk, now, of the database that was made last. May be asked by another thread while a program
        runs in here. Raise EngineError, RestoreFailed."""
        with engine(self.where, SIZE_SECONDS) as client:
            script = ["sh", "-c", 'du -sk "$1"/base/*', "sh", self._place.pgdata]
            return newest_in(self._box.through(client).run(script, deadline=SIZE_SECONDS))

    def sync(self) -> None:
        """Bring all that was written onto the disk: PGDATA, and the folders that lead to it."""
        self.run(["initdb", "--sync-only", f"--pgdata={self._place.pgdata}"], deadline=self._deadline)
        inside = PurePosixPath(self._place.pgdata)
        above = [str(each) for each in inside.parents if each.is_relative_to(self._place.destination)]
        if above:
            self.run(["sync", *above], deadline=self._deadline)


def why_not_here(client: docker.DockerClient) -> str:
    """Why no scratch server can be used from here; empty where one can."""
    if not shares_this_kernel(client):
        return (
            "Data is rebuilt on a scratch server, which is reached by a socket in a folder of this machine: run this "
            "on the Docker engine's own host, not from another machine."
        )
    return why_not_shown(client, Path(tempfile.gettempdir()))


def newest_in(said: str) -> int:
    """Bytes of the folder with the highest number: a database's own is called by its oid, and these are given in order.
    said: lines of `du -k` (pure)."""
    folders = [(path.rpartition("/")[2], kib) for kib, _, path in (line.partition("\t") for line in said.splitlines())]
    return max(((int(name), 1024 * int(kib)) for name, kib in folders if name.isdigit()), default=(0, 0))[1]


@contextmanager
def scratch_server(
    client: docker.DockerClient,
    *,
    image_id: str,
    volume: str,
    place: Place,
    owner: str,
    major: int,
    initdb: Sequence[str] | None,
    superuser: str = "",
    settings: Mapping[str, str] | None = None,
    archives: Path | None = None,
    deadline: float = START_SECONDS,
) -> Iterator[Scratch]:
    """A started server of the image on `volume`; after the block its container is gone, and the volume stays.

    major: the version that the image must have. initdb: arguments for a new cluster with `superuser`; None: on the one
    that is there. settings: what a session may depend on, such as its time zone. archives: a folder to be seen at
    /archives. deadline: seconds for a start or a stop. Raise EngineError, RestoreFailed.
    """
    below = place.below
    if reason := why_not_here(client):
        raise EngineError(reason)
    if find_volume(client, volume) is None:
        raise EngineError(f"There is no volume {volume} to put a scratch server on.")
    # The image may have something beside PGDATA for a new volume; PGDATA itself must be empty.
    user, accounts = prepare(client, image_id, volume, place, owner, no_copy=initdb is None or not below)
    with _folder() as folder:
        mounts = [
            Mount("/rollcall", shown(client, folder), type="bind"),
            Mount(place.destination, volume, type="volume", no_copy=True),
        ]
        if accounts:
            _put(folder / "passwd", accounts)
            mounts.append(Mount("/etc/passwd", shown(client, folder / "passwd"), type="bind", read_only=True))
        if archives:
            mounts.append(Mount("/archives", shown(client, archives), type="bind", read_only=True))
        with leashed(client, image_id=image_id, owner=owner, user=user, mounts=mounts) as box:
            server = Scratch(box, folder, volume, place, deadline)
            server.find_programs(major)
            server.where, server.user = getattr(client, "where", None), superuser
            if initdb is not None:
                server.run(["initdb", f"--pgdata={place.pgdata}", *initdb], deadline=deadline)
            server.start(settings or {})
            yield server


def _short_enough(folder: Path) -> Path:
    """The temporary folder, or /tmp where its path is too long for a socket in it: 107 bytes in all (unix(7))."""
    longest = f"{folder}/rollcall-12345678/socket/.s.PGSQL.{PORT}"
    return folder if len(longest.encode()) <= 107 else Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of our own


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for the server's socket that anybody may use who can get there: only we can. Raise EngineError."""
    try:
        outer = Path(tempfile.mkdtemp(prefix="rollcall-", dir=_short_enough(Path(tempfile.gettempdir()))))
    except OSError as error:
        raise EngineError(f"No folder can be made in the temporary folder: {error.strerror}. Check TMPDIR.") from error
    try:
        inner = outer / "socket"
        inner.mkdir()
        inner.chmod(0o777)
        _put(inner / "pg_hba.conf", "local all all trust\n")
        _put(inner / "pg_ident.conf", "")
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _put(file: Path, text: str) -> None:
    """A file that the server's user can read, whatever our umask is."""
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
