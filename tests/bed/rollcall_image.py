"""Rollcall's own image, built from this checkout by its Dockerfile: for the tests that run it in Docker."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from tests.bed import engine, images
from tests.bed.progress import ROOT, STATE, BedError, run, step

IMAGE = "rollcall-bed/rollcall:latest"
PYTHON = "rollcall-bed/python:3.11"
PROXY = "rollcall-bed/haproxy:latest"
WHEELS = STATE / "wheels"
PULLED = {PYTHON: "python:3.11-slim", PROXY: "haproxy:3.0"}
IN_THE_IMAGE = [".dockerignore", "pyproject.toml", "README.md", "LICENSE", "flows", "tasks", "deployments"]
LONG = 3600.0

# Debian's Python is older than ours may be, and redis asks for this where it is older than 3.11.3.
FOR_OLDER_PYTHON = "async-timeout>=4.0.3"


def up() -> None:
    """Build the image of what the checkout now holds; Docker keeps the layers that did not change.

    Raise BedError if it can be neither built nor its base be had.
    """
    client = engine.connect(timeout=600)
    try:
        if not (_exists(client, PYTHON) and _exists(client, PROXY)):
            _bases(client)
        with step("wheels for Rollcall's image"):
            _wheels()
        before = _id(client)
        with step("Rollcall's image"), tempfile.TemporaryDirectory() as folder:
            _build(Path(folder))
        if before and before != _id(client):
            with suppress(APIError):
                client.images.remove(before)
    finally:
        client.close()


def _exists(client: docker.DockerClient, name: str) -> bool:
    return _id(client, name) is not None


def _id(client: docker.DockerClient, name: str = IMAGE) -> str | None:
    try:
        return str(client.images.get(name).id)
    except ImageNotFound:
        return None


def _bases(client: docker.DockerClient) -> None:
    """Python's and HAProxy's images, pulled where a registry answers, else one Debian that has both."""
    if images._registry_answers(images.VERSIONS[0]):
        for tag, name in PULLED.items():
            try:
                repository, _, version = name.partition(":")
                client.images.pull(repository, tag=version).tag(*tag.split(":"))
            except DockerException as error:
                raise BedError(f"{name} could not be pulled: {error}") from error
        return
    engine.require_tool("debootstrap")
    rootfs = STATE / "rootfs-python"
    shutil.rmtree(rootfs, ignore_errors=True)
    STATE.mkdir(exist_ok=True)
    try:
        with step("base system with Python and HAProxy"):
            packages = "--include=python3,python3-venv,haproxy"
            run(["debootstrap", "--variant=minbase", packages, images.SUITE, str(rootfs), *images._mirror()], LONG)
            images._trim(rootfs)
            images._import(rootfs, PYTHON)
    finally:
        shutil.rmtree(rootfs, ignore_errors=True)
    client.images.get(PYTHON).tag(*PROXY.split(":"))


def _wheels() -> None:
    """What pip needs for a build without a network, made once for each pyproject.toml."""
    known = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    note = WHEELS / "made-for"
    if note.exists() and note.read_text() == known:
        return
    shutil.rmtree(WHEELS, ignore_errors=True)
    WHEELS.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip"]
    # The very versions that are tested here, so that nothing has to be searched for.
    frozen = WHEELS / "frozen.txt"
    frozen.write_text(run([*pip, "freeze", "--exclude-editable"]))
    asked = [str(ROOT), "setuptools>=77", FOR_OLDER_PYTHON]
    run([*pip, "wheel", "--quiet", "--constraint", str(frozen), "--wheel-dir", str(WHEELS), *asked], LONG)
    for each in WHEELS.glob("rollcall-*"):
        each.unlink()
    frozen.unlink()
    note.write_text(known)


def _build(folder: Path) -> None:
    """From what git would hand out, and the wheels: as a fresh clone would be built."""
    listed = run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", *IN_THE_IMAGE]).splitlines()
    for name in listed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(WHEELS, folder / "wheels")
    offline = {"PYTHON_IMAGE": PYTHON, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/src/wheels"}
    arguments = [word for name, value in offline.items() for word in ("--build-arg", f"{name}={value}")]
    line = ["docker", "build", "--force-rm", *arguments, "--file", "deployments/docker/Dockerfile", "--tag", IMAGE, "."]
    built = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=LONG, check=False)
    if built.returncode:
        raise BedError(f"Rollcall's image could not be built: {(built.stderr or built.stdout)[-2000:]}")
