"""Why two volumes' data cannot be exchanged, each reason in one sentence."""

from typing import Any

import pytest

from tasks.containers.exchange import can_exchange
from tasks.containers.volumes import Volume, VolumeUser


def volume(name: str, **given: Any) -> Volume:
    known = {
        "driver": "local",
        "labels": {},
        "options": {},
        "created_at": "",
        "mountpoint": f"/var/lib/docker/volumes/{name}/_data",
        "users": [],
    }
    return Volume(name=name, **(known | given))


def user(container: str, *, running: bool) -> VolumeUser:
    return VolumeUser(container=container, id=container, running=running, destination="/data", read_only=True)


STAGING = volume("staging")


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        (volume("pinned"), None),
        (volume("pinned", users=[user("knowledge_postgres", running=False)]), None),
        (
            volume("pinned", users=[user("a", running=True), user("b", running=False), user("c", running=True)]),
            "The volume pinned is in use by a, c; stop that first.",
        ),
        (
            volume("pinned", driver="rexray/ebs", mountpoint=""),
            "The volume pinned is of the driver rexray/ebs; only data of `local` can be exchanged.",
        ),
        (
            volume("pinned", options={"type": "cifs", "o": "username=u,password=secret", "device": "//nas/pg"}),
            "The volume pinned has driver options (device, o, type): its data is mounted from elsewhere, so it cannot "
            "be exchanged.",
        ),
        (
            volume("pinned", mountpoint="/srv/pinned"),
            "The data of the volume pinned is in /srv/pinned, not where the driver `local` keeps data.",
        ),
        (
            volume("pinned", mountpoint="/mnt/docker/volumes/pinned/_data"),
            "The volumes pinned and staging are on different file systems, so their data cannot be exchanged.",
        ),
        (STAGING, "The volume staging cannot be exchanged with itself."),
    ],
)
def test_each_reason_is_one_sentence(pinned: Volume, expected: str | None) -> None:
    assert can_exchange(pinned, STAGING) == expected


def test_the_reason_is_the_other_volume_s_too() -> None:
    assert "staging is in use by x" in str(
        can_exchange(volume("p"), volume("staging", users=[user("x", running=True)]))
    )


def test_known_devices_are_compared() -> None:
    pinned = volume("pinned")
    assert can_exchange(pinned, STAGING, ["8:1", "8:2"]) is None
    assert "different file systems" in str(can_exchange(pinned, STAGING, ["8:1", "9:2"]))
