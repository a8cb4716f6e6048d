"""Data folders of volumes renamed by a helper container on the engine's host, for a worker that cannot reach them:
Docker Desktop, a remote engine, a worker in a container or without the right."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig, Mount

from tasks.containers import recreate
from tasks.containers.engine import OUR_LABEL
from tasks.containers.exchange_moves import DATA, Move, Place, aside, places
from tasks.containers.startable import cause, start_each, why_not_started
from tasks.errors import EngineError

PROGRAMS = ("grep", "mv", "sync", "stat", "dirname")
SECONDS = 600  # for the renames of one helper, which wait for the disk at their end

# $1 and $2: the volumes; $3 and $4: what their folders are called. Then pairs of paths: each is renamed to the next,
# which must be free, for `mv` would put it inside a folder that is there. Across a mount point `mv` would copy: so none
# may be in the volumes' folders. Nor may a link be on the way to them, which may lead elsewhere on the host.
SCRIPT = (
    f"""
{start_each(*PROGRAMS)}
"""
    + """
cd /volumes || exit 1
is_there() { [ -e "$1" ] || [ -L "$1" ]; }
one=$1; other=$2; data=$3; aside=$4; shift 4
for each in "$one" "$other"; do
  if grep -qF -e " /volumes/$each " -e " /volumes/$each/" /proc/self/mountinfo; then
    echo "another file system is mounted in the folder of $each" >&2; exit 1
  fi
  part=$each/$data
  while part=${part%/*}; [ "$part" != "$each" ]; do
    if [ -L "$part" ]; then echo "$part is a link" >&2; exit 1; fi
  done
done
while [ $# -gt 1 ]; do
  if is_there "$2"; then echo "$2 is there" >&2; exit 1; fi
  mv "$1" "$2" || exit 1
  shift 2
done
sync "$one" "$other" "$(dirname "$one/$data")" "$(dirname "$other/$data")" || sync || exit 1
for each in "$one/$data" "$one/$aside" "$other/$data" "$other/$aside"; do
  if [ -L "$each" ]; then echo "$each is no folder" >&2; exit 1; fi
  if is_there "$each"; then stat -c "%d:%i $each" "$each" || exit 1; fi
done
"""
)


class FoldersByHelper:
    """The data folders of some volumes below `root`, the engine's folder of volumes, seen by a helper container."""

    def __init__(
        self, client: docker.DockerClient, root: str, volumes: Sequence[str], image_id: str, owner: str,
        data: str = DATA,
    ) -> None:  # fmt: skip
        self._client, self._root, self._volumes, self._image_id, self._owner = client, root, volumes, image_id, owner
        self._data = data

    def arrange(self, chosen: Sequence[Move] = ()) -> dict[Place, str]:
        """Make the moves, put them on the disk, and return what is where: `device:inode` by place.

        Raise EngineError: then an earlier move may have been made.
        """
        pairs = [str(place) for move in chosen for place in move]
        arguments = [self._volumes[0], self._volumes[-1], self._data, aside(self._data), *pairs]
        lines = [line.partition(" ") for line in self._run(arguments).splitlines()]
        ids = {path: folder_id for folder_id, _, path in lines}
        return {place: ids[str(place)] for place in places(self._volumes, self._data) if str(place) in ids}

    @property
    def name(self) -> str:
        """The helper's: of these volumes alone. So there is never a second one at work on them."""
        return f"rollcall-exchange-{hashlib.sha256(' '.join(sorted(self._volumes)).encode()).hexdigest()[:16]}"

    def _run(self, arguments: Sequence[str]) -> str:
        """What the script prints, run in a new helper. Raise EngineError with its last words."""
        _remove(self._client, self.name)
        made = self._create(arguments)
        try:
            self._client.api.start(made)
            status = self._client.api.wait(made, timeout=SECONDS)["StatusCode"]
            said = {
                name: self._client.api.logs(made, stdout=name == "stdout", stderr=name == "stderr").decode()
                for name in ("stdout", "stderr")
            }
        except NotFound as error:
            raise self._failed("the helper container was removed by somebody") from error
        except requests.exceptions.ReadTimeout as error:
            raise self._failed(f"a helper container did not come to its end within {SECONDS} s") from error
        except APIError as error:
            raise self._failed(self._why_not() or f"the helper container does not start ({cause(error)})") from error
        finally:
            _remove(self._client, made)
        if status != 0:
            words = " ".join(said["stderr"].split()) or f"the helper container ended with {status}"
            raise self._failed(self._why_not() or words)
        return said["stdout"]

    def _why_not(self) -> str:
        return why_not_started(self._client, self._image_id, self._owner, PROGRAMS)

    def _create(self, arguments: Sequence[str]) -> str:
        """A helper that is not started. One of a killed run, which the engine is only about to make, has the name
        first: it is waited for, and removed."""
        given_up = time.monotonic() + recreate.CREATE_SECONDS
        while True:
            try:
                return self._create_once(arguments)
            except APIError as error:
                if error.status_code != recreate.CONFLICT or time.monotonic() > given_up:
                    reason = error.explanation or error
                    raise self._failed(f"a helper container that could is refused ({reason})") from error
                _remove(self._client, self.name)
                time.sleep(recreate.ASK_EVERY)
            except DockerException as error:
                raise self._failed(f"a helper container that could is refused ({error})") from error

    def _create_once(self, arguments: Sequence[str]) -> str:
        made = self._client.api.create_container(
            self._image_id,
            ["-c", SCRIPT, "rollcall", *arguments],
            entrypoint=["sh"],
            name=self.name,
            user="0:0",
            labels={OUR_LABEL: self._owner},
            host_config=self._confined(),
        )
        return str(made["Id"])

    def _confined(self) -> dict[str, Any]:
        """Root of the host's own users, whatever the engine maps; no network, and of all capabilities those to move
        what belongs to others. SELinux keeps containers from the folder of all volumes, so its label is left out."""
        image: dict[str, Any] = self._client.api.inspect_image(self._image_id)  # type: ignore[no-untyped-call]
        declared = image["Config"].get("Volumes") or {}
        config: dict[str, Any] = self._client.api.create_host_config(
            network_mode="none",
            mounts=[Mount("/volumes", self._root, type="bind")],
            tmpfs=dict.fromkeys(declared, "size=1m"),
            read_only=True,
            cap_drop=["ALL"],
            cap_add=["DAC_OVERRIDE", "FOWNER"],
            security_opt=["no-new-privileges", "label=disable"],
            userns_mode="host",
            log_config=LogConfig(type=LogConfig.types.JSON),
        )
        return config

    def _failed(self, reason: str) -> EngineError:
        return EngineError(
            f"The data folders of {' and '.join(self._volumes)} cannot be exchanged: this program may not write to "
            f"{self._root} on the engine's host, and {reason.rstrip('.')}."
        )


def _remove(client: docker.DockerClient, container: str) -> None:
    """End and remove a helper; one that is gone is fine. It ends between two renames, never within one."""
    with contextlib.suppress(EngineError):
        recreate.remove(client, container, force=True)
