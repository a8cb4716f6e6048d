"""Read a cluster's global/pg_control without a server: which cluster it is, how it was left, how far it got (pure).

The layout is PostgreSQL's ControlFileData (source, src/include/catalog/pg_control.h). What is read here has kept its
place from PostgreSQL 11 to 18; up to 10 one more field, prevCheckPoint, lay before the copy of the checkpoint.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from functools import cache

from tasks.errors import ControlFileUnreadable
from tasks.models import Model

BYTES = 512  # Within one disk sector, which PostgreSQL relies on to write the structure whole.

# DBState, in the words of pg_controldata.
STATES = (
    "starting up",
    "shut down",
    "shut down in recovery",
    "shutting down",
    "in crash recovery",
    "in archive recovery",
    "in production",
)
SHUT_DOWN = ("shut down", "shut down in recovery")

_HEAD = struct.Struct("<QIIi4xqQ")
_TIMELINE, _CHECKPOINT_TIME = 48, 104
_PREVIOUS_CHECKPOINT = 8
_NEXT_XID, _NEXT_XID_EPOCH = 64, 60  # from PostgreSQL 12 on both are one field of 64 bits
_FIRST_VERSION, _PG_11, _PG_12, _PG_19 = 800, 1100, 1201, 1900
_CRC_PLACES = range(192, BYTES - 3, 4)


class ControlFile(Model):
    """What pg_control says.

    state is one of STATES; changed_at: when the file was last written; checkpoint_at: when the last checkpoint was
    made, None for versions that keep it elsewhere; sound: its own checksum fits. next_xid: the transaction id, with its
    epoch, that is given out next; exact only where the server was shut down in order; None before PostgreSQL 11.
    """

    system_identifier: str
    control_version: int
    catalog_version: int
    state: str
    checkpoint_lsn: str
    timeline: int
    changed_at: datetime
    checkpoint_at: datetime | None = None
    sound: bool = True
    next_xid: int | None = None

    @property
    def clean(self) -> bool:
        """Whether the server that wrote it last was shut down in order."""
        return self.state in SHUT_DOWN


def parse(content: bytes) -> ControlFile:
    """The control file from its first 512 bytes. Raise ControlFileUnreadable where this is none."""
    if len(content) < BYTES:
        raise ControlFileUnreadable(f"global/pg_control is cut short: {len(content)} bytes of at least {BYTES}.")
    identifier, version, catalog, state, changed, checkpoint = _HEAD.unpack_from(content)
    if not identifier or not _FIRST_VERSION <= version < 1 << 16 or not 0 <= state < len(STATES):
        raise ControlFileUnreadable(
            "global/pg_control is damaged, or was written by a machine of another byte order: it names no cluster."
        )
    timeline = _TIMELINE if version >= _PG_11 else _TIMELINE + _PREVIOUS_CHECKPOINT
    return ControlFile(
        system_identifier=str(identifier),
        control_version=version,
        catalog_version=catalog,
        state=STATES[state],
        checkpoint_lsn=f"{checkpoint >> 32:X}/{checkpoint & 0xFFFFFFFF:X}",
        timeline=struct.unpack_from("<I", content, timeline)[0],
        changed_at=_time(changed),
        checkpoint_at=_checkpoint_time(content, version),
        sound=is_sound(content),
        next_xid=_next_xid(content, version),
    )


def _checkpoint_time(content: bytes, version: int) -> datetime | None:
    if not _PG_12 <= version < _PG_19:
        return None
    return _time(struct.unpack_from("<q", content, _CHECKPOINT_TIME)[0])


def _next_xid(content: bytes, version: int) -> int | None:
    if not _PG_11 <= version < _PG_19:
        return None
    if version >= _PG_12:
        return int(struct.unpack_from("<Q", content, _NEXT_XID)[0])
    epoch, xid = struct.unpack_from("<II", content, _NEXT_XID_EPOCH)
    return int(epoch << 32 | xid)


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ControlFileUnreadable("global/pg_control is damaged: it holds a time that is none.") from error


def is_sound(content: bytes) -> bool:
    """Whether the checksum (CRC-32C, the structure's last field) fits.

    Its place differs between versions; a wrong place fits by chance once in fifty million damaged files.
    """
    crc = 0xFFFFFFFF
    for position, byte in enumerate(content[: _CRC_PLACES.stop]):
        if position in _CRC_PLACES and crc ^ 0xFFFFFFFF == struct.unpack_from("<I", content, position)[0]:
            return True
        crc = _crc_table()[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return False


@cache
def _crc_table() -> tuple[int, ...]:
    """The table of CRC-32C (Castagnoli), bits reversed."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - the usual way to write it
        table.append(value)
    return tuple(table)
