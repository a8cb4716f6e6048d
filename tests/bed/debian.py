"""Debian packages unpacked in the bed's own folder: nothing is installed, and nothing of this machine is replaced."""

import shutil
from pathlib import Path

from tests.bed.progress import STATE, BedError, alone, run, step

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASE, NEXT_RELEASE = "bookworm", "trixie"
OFFICIAL = "http://deb.debian.org/debian"


def mirror() -> str:
    """The mirror that apt uses here, so that a local one is honoured; empty where apt uses none, or is not here."""
    if shutil.which("apt-get") is None:
        return ""
    wanted = ["Origin: Debian", "Component: main", "Created-By: Packages"]
    for release in (RELEASE, NEXT_RELEASE):
        listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {release}", *wanted]).split()
        if listed:
            return listed[0]
    return ""


def unpacked(package: str, release: str = RELEASE) -> Path:
    """The folder with what a package of that release holds. Raise BedError if it cannot be had."""
    folder = STATE / "packages" / f"{package}-{release}"
    with alone():
        if not folder.exists():
            if shutil.which("apt-get") is None:
                raise BedError(f"The Debian package {package} is needed, and apt is not here to fetch it.")
            with step(f"package {package} of {release}"):
                _fetch(package, release, folder)
    return folder


def _fetch(package: str, release: str, folder: Path) -> None:
    """By lists of our own: those of the machine may know another release alone, or nothing yet."""
    apt, made = STATE / "apt" / release, folder.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    for each in (apt / "lists/partial", apt / "cache/archives/partial", made):
        each.mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror() or OFFICIAL} {release} main\n")
    settings = {
        "Dir::Etc::SourceList": f"{apt}/sources.list", "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": f"{apt}/lists", "Dir::Cache": f"{apt}/cache", "APT::Sandbox::User": "",
    }  # fmt: skip
    quiet = ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    run([*quiet, "update"])
    run(["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(apt / "cache"), *quiet, "download", package])
    (archive,) = (apt / "cache").glob(f"{package}_*.deb")
    run(["dpkg", "-x", str(archive), str(made)])
    archive.unlink()
    made.rename(folder)


def static_busybox() -> Path:
    """A busybox that needs no library, as one that is alone in an image must be; Debian's usual one is none.

    Raise BedError if there is none here and none can be had.
    """
    found = shutil.which("busybox")
    if found and not _is_dynamic(Path(found)):
        return Path(found)
    return next(unpacked("busybox-static").glob("**/bin/busybox"))


def _is_dynamic(program: Path) -> bool:
    """Whether it names a loader, as the beginning of one that needs libraries does (elf(5))."""
    with program.open("rb") as file:
        return b"/ld-" in file.read(4096)
