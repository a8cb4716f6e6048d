"""Every error Rollcall raises on purpose: one sentence that says what was wrong, where, and what to do.

Third-party exceptions are translated into these at the adapter that met them (the engine, the database, the storage)
and nowhere else. `transient` says whether trying the same thing again may help: retries look at nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence


class RollcallError(Exception):
    """Base of all: its text is shown to the user as it is."""

    transient = False


class ConfigError(RollcallError):
    """The configuration cannot be used: names the file, the line and the key."""


class SecretError(RollcallError):
    """A referenced secret (environment variable, file, block) is not there."""


class Busy(RollcallError):
    """Another run holds this target's lock."""


class EngineError(RollcallError):
    """The Docker engine refused or failed a call."""


class EngineUnreachable(EngineError):
    """No Docker engine answers."""

    transient = True


class EngineNotTrusted(EngineUnreachable):
    """The engine, or the way to it, is not the one that is expected, or does not let us in: no use to try again."""

    transient = False


class ControlFileUnreadable(RollcallError):
    """What should be a cluster's global/pg_control is none."""


class ComposeFileError(RollcallError):
    """A compose file cannot be read, changed or put back."""


class ContainerMissing(EngineError):
    """The target's container does not exist."""


class ContainerStopped(EngineError):
    """The target's container exists and does not run."""


class DatabaseError(RollcallError):
    """The database refused or failed a statement."""


class DatabaseUnreachable(DatabaseError):
    """No connection could be made, or it was lost."""

    transient = True


class NoWayIn(DatabaseUnreachable):
    """The container has neither a reachable address nor a published port."""


class LoginRefused(DatabaseError):
    """Wrong password, missing role or missing database."""


class RowsHidden(DatabaseError):
    """Row-level security, or a missing right, would hide rows: a count would be a lie."""


class TablesLocked(DatabaseError):
    """Another session kept a table locked, or kept changing it, while it was to be counted and dumped together.

    Taking a database tries again by itself, for as long as `lock_wait` allows: a task need not.
    """


class DumpFailed(DatabaseError):
    """pg_dump, pg_dumpall or pg_restore ended with an error: carries its last words."""


class DumpInterrupted(DumpFailed):
    """The dump lost its server half-way, or ran into its deadline."""

    transient = True


class StorageError(RollcallError):
    """A storage refused or failed."""


class StorageUnreachable(StorageError):
    """A storage does not answer, or answers that it cannot now."""

    transient = True


class StorageFull(StorageError):
    """No space left for the object."""


class ObjectMissing(StorageError):
    """The key is not in the storage."""


class ObjectDamaged(StorageError):
    """What the storage holds is not what was stored: size or SHA-256 differs, or it cannot be read."""


class HistoryError(RollcallError):
    """The history database cannot be opened, read or written."""


class NotificationFailed(RollcallError):
    """A notification could not be delivered."""

    transient = True


class RestoreError(RollcallError):
    """A restore could not be done."""


class Refused(RestoreError):
    """Not approved, or something is in the way: nothing was touched."""


class RolledBack(RestoreError):
    """A step failed, and everything is as it was before."""


class NeedsRecover(RestoreError):
    """A restore stopped half-way and could not be undone on the spot: `rollcall recover` goes on from its journal."""


class RestoreFailed(RestoreError):
    """A backup or a volume could not be rebuilt on a scratch server."""


class DoesNotRestore(RestoreFailed):
    """PostgreSQL refused what the backup holds: that is the backup's failure, not the machine's."""


class NotEqual(RestoreError):
    """What was rebuilt is not what the manifest says, or nothing could be compared. differences: all of them."""

    def __init__(self, message: str, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = list(differences)


def tellable(error: Exception) -> RollcallError:
    """The error as people may be told it: our own as it is; of a defect the class alone, for others' texts may hold
    secrets."""
    if isinstance(error, RollcallError):
        return error
    return RollcallError(f"It met a defect ({type(error).__name__}); the run's own log says where.")
