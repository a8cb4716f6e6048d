"""What is read out of the bytes of pg_control; real ones of every version are read in the integration tests."""

import struct
from datetime import UTC, datetime

import pytest

from tasks.containers.control_file import BYTES, STATES, ControlFile, is_sound, parse
from tasks.errors import ControlFileUnreadable

IDENTIFIER = 7712220165673832465
CHANGED = datetime(2026, 2, 1, 2, 0, tzinfo=UTC)
CHECKPOINTED = datetime(2026, 2, 1, 1, 55, tzinfo=UTC)


def content(version: int = 1700, state: int = 1, identifier: int = IDENTIFIER, changed: int | None = None) -> bytes:
    """A control file in the layout of PostgreSQL 11 and later, without a checksum."""
    when = int(CHANGED.timestamp()) if changed is None else changed
    head = struct.pack("<QIIi4xqQ", identifier, version, 202406281, state, when, (0x16 << 32) + 0xB374D848)
    copy = struct.pack("<QII", 0, 3, 2)
    following = struct.pack("<Q", (3 << 32) + 800)
    body = ((head + copy).ljust(64, b"\0") + following).ljust(104, b"\0") + struct.pack(
        "<q", int(CHECKPOINTED.timestamp())
    )
    return body.ljust(BYTES, b"\0")


def test_everything_is_read_from_its_place() -> None:
    assert parse(content()) == ControlFile(
        system_identifier=str(IDENTIFIER),
        control_version=1700,
        catalog_version=202406281,
        state="shut down",
        checkpoint_lsn="16/B374D848",
        timeline=3,
        changed_at=CHANGED,
        checkpoint_at=CHECKPOINTED,
        sound=False,
        next_xid=(3 << 32) + 800,
    )


def test_the_next_transaction_id_is_put_together_in_11_and_left_out_where_its_place_is_another() -> None:
    eleven = bytearray(content(version=1100))
    eleven[60:68] = struct.pack("<II", 2, 900)
    assert parse(bytes(eleven)).next_xid == (2 << 32) + 900
    assert [parse(content(version=version)).next_xid for version in (942, 1002, 1900)] == [None, None, None]


@pytest.mark.parametrize("state", range(len(STATES)))
def test_only_a_cluster_that_was_shut_down_is_clean(state: int) -> None:
    found = parse(content(state=state))
    assert (found.state, found.clean) == (STATES[state], state in {1, 2})


def test_an_identifier_above_the_signed_range_stays_positive() -> None:
    assert parse(content(identifier=(1 << 64) - 1)).system_identifier == "18446744073709551615"


@pytest.mark.parametrize("version", [942, 1100, 1900, 2000])
def test_the_checkpoint_time_is_left_out_where_its_place_is_another(version: int) -> None:
    assert parse(content(version=version)).checkpoint_at is None


def test_up_to_version_10_one_more_field_lies_before_the_timeline() -> None:
    old = content(version=1002)
    older = old[:40] + struct.pack("<Q", 0) + old[40:-8]
    assert parse(older).timeline == parse(content()).timeline == 3


@pytest.mark.parametrize(
    "given",
    [
        b"",
        content()[: BYTES - 1],
        bytes(BYTES),
        b"\xff" * BYTES,
        content(identifier=0),
        content(version=0),
        content(version=1 << 24),
        content(state=7),
        content(state=-1),
        content(changed=1 << 62),
    ],
    ids=["empty", "short", "zeros", "ones", "no identifier", "no version", "other byte order", "state 7", "-1", "time"],
)
def test_what_is_no_control_file_is_refused_in_one_sentence(given: bytes) -> None:
    with pytest.raises(ControlFileUnreadable, match="global/pg_control"):
        parse(given)


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as its definition says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def test_the_checksum_used_here_is_the_standard_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # The check value of CRC-32C (RFC 3720).


@pytest.mark.parametrize("length", [200, 288, 296, 304])
def test_a_checksum_that_fits_is_found_wherever_the_version_keeps_it(length: int) -> None:
    body = content()[:length]
    whole = (body + struct.pack("<I", crc32c(body))).ljust(BYTES, b"\0")

    assert is_sound(whole)
    assert [bit for bit in range(0, length * 8, 37) if is_sound(flipped(whole, bit))] == []


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
