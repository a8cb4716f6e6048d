"""A real S3 server, SeaweedFS, in a folder of its own and on ports of its own."""

import json
import secrets
import signal
import subprocess
import sysconfig
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_s3 import S3Client

from tests.bed.ports import free_port
from tests.bed.progress import BedError, end, wait_until

REGION = "us-east-1"
READY_SECONDS = 180
STOP_SECONDS = 3
"""Short: its own shutdown waits 15 s for clients that are gone, and what it stored is on disk already."""
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


@dataclass(frozen=True)
class S3Endpoint:
    """Where the server is and who may use it."""

    endpoint_url: str
    access_key: str
    secret_key: str

    def client(self, retries: int = 0) -> S3Client:
        """Return a new client, to be closed by the caller. It retries nothing unless told to."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                retries={"total_max_attempts": retries + 1},
                connect_timeout=30,
                read_timeout=120,
                s3={"addressing_style": "path"},
            ),
        )


@dataclass
class S3Server:
    """A SeaweedFS process. As a context: started and usable inside, ended after.

    `folder` keeps the data and the credentials, so that a server started there again is the same one.
    """

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    endpoint: S3Endpoint = field(init=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> S3Endpoint:
        """Start the server; return once it stores an object. Raise BedError if it ends or takes too long."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        ports = [free_port() for _ in range(len(PORTS) * 2)]
        ports[PORTS.index("s3.port")] = self.port
        access, secret = self._credentials()
        self.endpoint = S3Endpoint(f"http://127.0.0.1:{self.port}", access, secret)
        # One file of objects a bucket instead of seven: a bucket for each test would use up the volumes.
        (self.folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        with (self.folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(ports), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        try:
            wait_until(self._works, READY_SECONDS, "a first bucket on the S3 server", self._log_tail)
        except BaseException:
            self.stop()
            raise
        return self.endpoint

    def stop(self) -> None:
        """End this server's own process, politely, then not. No error if it is not running."""
        if self.process is not None:
            end(self.process, STOP_SECONDS)
            self.process = None

    def _command(self, ports: list[int]) -> list[str]:
        """Every port is given: default ones may be taken, and those of gRPC are guessed from the others."""
        given = dict(zip([*PORTS, *(f"{name}.grpc" for name in PORTS)], ports, strict=True))
        options = {
            "dir": "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": "credentials.json",
            "s3.localSocket": str(self.folder.absolute() / "s3.sock"),
            "filer.localSocket": str(self.folder.absolute() / "filer.sock"),
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "1024",
            "master.volumePreallocate": "false",
            "volume.max": "1000",
            "volume.preStopSeconds": "0",
            # Listeners nobody needs here, on fixed ports: a second server on the machine would die of them.
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            **{name: str(port) for name, port in given.items()},
        }
        return [str(_weed()), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]

    def _credentials(self) -> tuple[str, str]:
        file = self.folder / "credentials.json"
        if not file.exists():
            pair = {"accessKey": f"bed{secrets.token_hex(8)}", "secretKey": secrets.token_urlsafe(30)}
            actions = ["Admin", "Read", "Write", "List", "Tagging"]
            file.touch(mode=0o600)
            file.write_text(json.dumps({"identities": [{"name": "bed", "credentials": [pair], "actions": actions}]}))
        pair = json.loads(file.read_text())["identities"][0]["credentials"][0]
        return pair["accessKey"], pair["secretKey"]

    def _works(self) -> bool:
        """Store, read and remove for real: the port opens seconds before the first bucket can be made."""
        if self.process is not None and self.process.poll() is not None:
            raise BedError(f"The S3 server ended with {self.process.returncode}. {self._log_tail()}")
        bucket = f"ready-{self.port}"
        client = self.endpoint.client()
        try:
            if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="probe", Body=b"probe")
            client.delete_object(Bucket=bucket, Key="probe")
            client.delete_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True

    def _log_tail(self) -> str:
        lines = (self.folder / "weed.log").read_text(errors="replace").splitlines()
        return "End of its log: " + " | ".join(lines[-5:])


def serve(folder: Path, port: int) -> None:
    """Run a server until SIGTERM or SIGINT; print its endpoint as one line of JSON once it is ready."""
    done = threading.Event()

    def finish(_signal: int, _frame: FrameType | None) -> None:
        done.set()

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    with S3Server(folder, port) as server:
        print(json.dumps(asdict(server.endpoint)), flush=True)
        while not done.wait(1):
            if server.process is not None and server.process.poll() is not None:
                raise BedError("The S3 server ended by itself.")


def _weed() -> Path:
    """The wheel puts the program beside the interpreter, whether or not that folder is on PATH."""
    program = Path(sysconfig.get_path("scripts")) / "weed"
    if not program.exists():
        raise BedError("SeaweedFS is missing; install the project with its extra 'test'.")
    return program
