"""The label by which the bed knows its own containers, volumes and networks, and nobody else's."""

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.bed import engine
from tests.bed.progress import step

LABEL = "rollcall.bed"
ANONYMOUS = re.compile("[0-9a-f]{64}")

Thing = Container | Volume | Network


def new_run_id() -> str:
    """Return the value of the label for one run."""
    return secrets.token_hex(4)


@dataclass
class Bed:
    """One run of the tests: what it labels, what of that fixtures still hold, and the removal of it all."""

    client: docker.DockerClient
    run_id: str = field(default_factory=new_run_id)
    kept: set[str] = field(default_factory=set)

    @property
    def labels(self) -> dict[str, str]:
        """To be put on every container, volume and network that a test makes."""
        return {LABEL: self.run_id}

    def name(self, stem: str) -> str:
        """Return a name that no other run and no other call uses."""
        return f"{stem}-{self.run_id}-{secrets.token_hex(3)}"

    def network(self, stem: str = "bed") -> str:
        """Create a bridge network of this run and return its name."""
        return str(self.client.networks.create(self.name(stem), driver="bridge", labels=self.labels).name)

    def leftovers(self) -> list[str]:
        """What carries this run's label and is held by no fixture: `kind name`, sorted.

        Containers that merely stopped count too.
        """
        found = {f"{_kind(thing)} {thing.name}" for thing in _labelled(self.client, f"{LABEL}={self.run_id}")}
        return sorted(found - self.kept)

    def keep(self, container: str, volume: str) -> None:
        """Say that a fixture holds these and will remove them itself."""
        self.kept |= {f"container {container}", f"volume {volume}"}

    def release(self, container: str, volume: str) -> None:
        """Take back `keep` and remove both."""
        self.kept -= {f"container {container}", f"volume {volume}"}
        self.remove_container(container)
        self.remove_volume(volume)

    def has_volume(self, name: str) -> bool:
        """Whether the engine has the volume; one that was removed while a census of another test listed it is back for
        a moment, empty, by the census's own mark, and counts as gone."""
        from tasks.containers.clusters import CALLED_UP_LABEL

        try:
            found = self.client.volumes.get(name)
        except NotFound:
            return False
        return CALLED_UP_LABEL not in (found.attrs.get("Labels") or {})

    def remove_container(self, name: str) -> None:
        """Remove a container of this run, its anonymous volumes too; no error if it is gone."""
        try:
            container = self.client.containers.get(name)
        except NotFound:
            return
        if container.labels.get(LABEL) == self.run_id:
            remove(container)

    def remove_volume(self, name: str) -> None:
        """Remove a volume of this run; no error if it is gone."""
        try:
            volume = self.client.volumes.get(name)
        except NotFound:
            return
        if (volume.attrs.get("Labels") or {}).get(LABEL) == self.run_id:
            remove(volume)

    def remove_all(self) -> None:
        """Remove everything with this run's label."""
        _remove_labelled(self.client, f"{LABEL}={self.run_id}")


def remove_all() -> None:
    """Remove what any run left, even one that was killed."""
    client = engine.connect()
    try:
        with step("removing labelled containers, volumes and networks"):
            _remove_labelled(client, LABEL)
    finally:
        client.close()


def _labelled(client: docker.DockerClient, label: str) -> list[Thing]:
    """Containers first: a volume or network in use cannot be removed."""
    wanted: dict[str, str | list[str] | bool] = {"label": label}
    return [
        *client.containers.list(all=True, filters=wanted, ignore_removed=True),
        *client.volumes.list(filters={"label": label}),
        *client.networks.list(filters={"label": label}),
    ]


def _remove_labelled(client: docker.DockerClient, label: str) -> None:
    for thing in _labelled(client, label):
        remove(thing)


def pause(container: Container) -> None:
    """Pause it. Tried for three minutes: on a busy machine runc gives up to freeze what does not come to rest."""
    for attempt in _patiently():
        with attempt:
            container.pause()


def remove(thing: Thing) -> None:
    """Remove one thing, a container's anonymous volumes too; that somebody else did so or is about to is no error.

    Tried for three minutes: a census of another test may look into a volume just now, in a container of its
    own; and a busy engine gives up to kill a container whose end it did not hear of within ten seconds.
    """
    for attempt in _patiently():
        with attempt:
            _remove_now(thing)


def _patiently() -> Retrying:
    """Again and again for three minutes, whatever the engine has against it."""
    return Retrying(
        retry=retry_if_exception_type(APIError), stop=stop_after_delay(180), wait=wait_fixed(1), reraise=True
    )


def _remove_now(thing: Thing) -> None:
    try:
        if isinstance(thing, Container):
            thing.remove(force=True, v=True)
            _remove_inherited(thing)
        else:
            thing.remove()
    except NotFound:
        return
    except APIError as error:
        if "already in progress" not in str(error):
            raise


def _remove_inherited(container: Container) -> None:
    """Anonymous volumes that the container had from the one that it replaced: the engine takes those for named ones.

    One that a test made itself has the label, and its test removes it.
    """
    api = container.client.api
    for mount in container.attrs["Mounts"]:
        if mount["Type"] == "volume" and ANONYMOUS.fullmatch(mount["Name"]):
            with suppress(APIError):  # It is gone, or the container that was replaced has it still.
                if LABEL not in (api.inspect_volume(mount["Name"])["Labels"] or {}):
                    api.remove_volume(mount["Name"])


def _kind(thing: Thing) -> str:
    return type(thing).__name__.lower()
