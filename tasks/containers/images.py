"""Local images that can run PostgreSQL: which there are, and which one fits a volume."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import docker
from docker.errors import NotFound

from tasks.errors import EngineError
from tasks.models import Model


class PostgresImage(Model):
    """An image with PGDATA in its environment. major: as its environment says, "" where it does not; volumes: the
    places that it declares as volumes; created_at is the engine's own text."""

    id: str
    tags: list[str]
    major: str
    pgdata: str
    volumes: list[str]
    created_at: str


def read_image(found: Mapping[str, Any]) -> PostgresImage | None:
    """The image of the engine's inspect JSON; None where it has no PGDATA (Docker Engine API, ImageInspect)."""
    config = found.get("Config") or {}
    environment = dict(each.partition("=")[::2] for each in config.get("Env") or [])
    if "PGDATA" not in environment:
        return None
    return PostgresImage(
        id=found["Id"],
        tags=found.get("RepoTags") or [],
        major=major_of(environment),
        pgdata=environment["PGDATA"],
        volumes=sorted(config.get("Volumes") or {}),
        created_at=found.get("Created") or "",
    )


def major_of(environment: Mapping[str, str]) -> str:
    """The major version that PG_MAJOR or PG_VERSION, as the official images set them, name: `17`, `9.6`; else ""."""
    for name in ("PG_MAJOR", "PG_VERSION"):
        match = re.match(r"([0-9]{2,3}|[0-9]\.[0-9]+)(?![0-9])", environment.get(name, ""))
        if match:
            return match[1]
    return ""


class LocalImages:
    """The PostgreSQL images of an engine: the given container's, then those that other containers use, then those that
    have a name, then all others; the newest of each first."""

    def __init__(self, client: docker.DockerClient, container: str) -> None:
        self._client, self._container = client, container
        self._read: dict[str, PostgresImage | None] = {}
        self._all: list[PostgresImage] | None = None

    def to_look_with(self) -> str:
        """The id of an image for helpers: any that runs PostgreSQL has what they need. Raise EngineError."""
        own = self._image_of(self._container)
        for image in [own] if own else self._everything():
            return image.id
        raise EngineError(
            f"No local image can look into volumes: there is no container {self._container!r}, and no image here has "
            "PGDATA in its environment. Pull the image that your database runs on, then ask again."
        )

    def of_major(self, major: str, users: Iterable[str] = ()) -> PostgresImage | None:
        """An image that runs this major version: that of a container in `users` (ids), which knows what extensions its
        data needs, else the given container's, else the newest; None where there is none."""
        for name in users:
            own = self._image_of(name)
            if own and own.major in (major, ""):
                return own
        given = self._image_of(self._container)
        candidates = [*([given] if given else []), *self._everything()]
        return next((each for each in candidates if each.major == major), None)

    def _image_of(self, container: str) -> PostgresImage | None:
        """The container's image, if both are there and it runs PostgreSQL."""
        try:
            return self._image(self._client.api.inspect_container(container)["Image"])
        except NotFound:
            return None

    def _image(self, image_id: str) -> PostgresImage | None:
        if image_id not in self._read:
            try:
                found = self._client.api.inspect_image(image_id)  # type: ignore[no-untyped-call]
            except NotFound:
                found = {}
            self._read[image_id] = read_image(found)
        return self._read[image_id]

    def _everything(self) -> Sequence[PostgresImage]:
        if self._all is None:
            used = [str(each["ImageID"]) for each in self._client.api.containers(all=True)]
            present = [str(each["Id"]) for each in self._client.api.images()]
            images = [image for each in dict.fromkeys(present) if (image := self._image(each))]
            newest = sorted(images, key=lambda image: image.created_at, reverse=True)
            self._all = sorted(newest, key=lambda image: (image.id not in used, not image.tags))
        return self._all
