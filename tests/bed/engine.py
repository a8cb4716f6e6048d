"""A Docker engine: the one that answers, else one installed and started here."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.bed.progress import STATE, BedError, run, say, step, wait_until

ANSWER_SECONDS = 90
PID_FILE = STATE / "dockerd.pid"
LOG_FILE = STATE / "dockerd.log"
ENGINE_RUN = Path("/var/run")

PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "update-ca-certificates": "ca-certificates",
}

ON_DEMAND = {  # asked for by few tests
    "chromium": "chromium",
    "zstd": "zstd",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ps": "procps",
    "docker-compose": "docker-compose",
    "pgbouncer": "pgbouncer",
}


def connect(timeout: int = 60) -> docker.DockerClient:
    """Return a client of the engine that the `docker` command would use. Raise BedError if none answers."""
    try:
        client = docker.DockerClient(base_url=_endpoint(), timeout=timeout)
        client.ping()
    except DockerException as error:
        raise BedError("No Docker engine answers; run `make bed` to install or start one.") from error
    return client


def answers() -> bool:
    """Whether an engine answers now."""
    try:
        connect(timeout=5).close()
    except BedError:
        return False
    return True


def up() -> None:
    """Make sure that an engine answers. Raise BedError if none can be had.

    An engine that already answers belongs to the user: nothing about it is changed.
    """
    if not answers():
        with step("engine"):
            _install(_missing_packages())
            _start()
    say(f"packages: {'; '.join(versions())}")


def versions() -> list[str]:
    """Every Debian package that the bed may install, with the version that is here: for a log that somebody reads who
    has another machine."""
    packages = sorted({*PACKAGES.values(), *ON_DEMAND.values()})
    if shutil.which("dpkg-query") is None:
        return [f"none of Debian ({', '.join(packages)})"]
    asked = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *packages]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    known = {name: version for name, _, version in (line.partition(" ") for line in listed)}
    return [f"{each} {known.get(each) or 'not installed'}" for each in packages]


def down() -> None:
    """Stop the engine if it is the one started here; any other is left alone."""
    pid = _read_pid(PID_FILE)
    if pid is None:
        return
    if _is_running(pid, "dockerd"):
        with step("stopping the engine started by the bed"):
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not _is_running(pid, "dockerd"), 60, "the end of dockerd")
    PID_FILE.unlink()


def require_tool(tool: str) -> None:
    """Install the Debian package that brings `tool`, if it is missing; raise BedError if that fails."""
    if shutil.which(tool) is None:
        package = (PACKAGES | ON_DEMAND)[tool]
        with step(f"installing {package}"):
            _install([package])


def _endpoint() -> str:
    """`DOCKER_HOST`, else what the current context says, as for the command; the library knows none."""
    default = f"unix://{ENGINE_RUN}/docker.sock"
    if "DOCKER_HOST" in os.environ:
        return os.environ["DOCKER_HOST"]
    if (ENGINE_RUN / "docker.sock").exists() or shutil.which("docker") is None:
        return default
    question = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    result = subprocess.run(question, capture_output=True, text=True, check=False)
    return result.stdout.strip() or default


def _missing_packages() -> list[str]:
    return sorted({package for tool, package in PACKAGES.items() if shutil.which(tool) is None})


def _install(packages: list[str]) -> None:
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BedError(f"Missing here: {', '.join(packages)}; start a Docker engine, or be root on Debian.")
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"]
    say(f"installing {', '.join(packages)}")
    run([*quiet, "update"])
    run([*quiet, "install", "-y", "--no-install-recommends", *packages])


def _start() -> None:
    """Start dockerd detached from this process, so that it outlives `make`; wait until it answers."""
    if os.geteuid() != 0:
        raise BedError("No Docker engine answers and only root can start one; start yours, or run this as root.")
    if _is_starting_by_itself():
        wait_until(answers, ANSWER_SECONDS, "an answer of the engine that is already running")
        return
    _forget_dead_engine()
    STATE.mkdir(exist_ok=True)
    with LOG_FILE.open("ab") as log:
        process = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    PID_FILE.write_text(f"{process.pid}\n")
    wait_until(lambda: process.poll() is not None or answers(), ANSWER_SECONDS, "dockerd's first answer", _log_tail)
    if process.poll() is not None:
        PID_FILE.unlink()
        raise BedError(f"dockerd ended with {process.returncode}. {_log_tail()}")
    process.returncode = 0  # Left running on purpose: without this the interpreter warns about it.


def _is_starting_by_itself() -> bool:
    """With systemd, the package starts the engine; a second one would fail on the first's pid file."""
    pid = _read_pid(ENGINE_RUN / "docker.pid")
    return pid is not None and _is_running(pid, "dockerd")


def _forget_dead_engine() -> None:
    """Remove pid files of an engine that was killed.

    dockerd only looks whether some process has that number, and after a restart of the machine one has.
    A containerd that outlived its dockerd is left: the next dockerd takes it over, with its containers.
    """
    for name, file in {
        "dockerd": ENGINE_RUN / "docker.pid",
        "containerd": ENGINE_RUN / "docker/containerd/containerd.pid",
    }.items():
        pid = _read_pid(file)
        if pid is None or not _is_running(pid, name):
            file.unlink(missing_ok=True)


def _read_pid(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _is_running(pid: int, name: str) -> bool:
    """Whether process `pid` runs and is a `name`: numbers are given out again."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return f"Name:\t{name}\n" in status and "\nState:\tZ" not in status


def _log_tail() -> str:
    lines = LOG_FILE.read_text(errors="replace").splitlines() if LOG_FILE.exists() else []
    return f"The end of {LOG_FILE}: " + " | ".join(lines[-5:])
