"""Where backups are kept: the contract, two storages that keep it, the way in and the record of what is
there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks import config
from tasks.errors import SecretError, StorageError
from tasks.secrets import reveal
from tasks.storage.contract import Storage, Stored
from tasks.storage.local import LocalStorage

__all__ = ["Storage", "Stored", "open_all", "open_storage"]


def open_storage(name: str, section: config.StorageSection) -> Storage:
    """The storage that the section called `name` describes; nothing is written or connected to yet.

    Raise StorageError if the section, or a key it names, cannot be used.
    """
    if isinstance(section, config.LocalStorage):
        return LocalStorage(name, section.path)
    # boto3 takes a third of a second to import, and most commands need no bucket.
    from tasks.storage.s3 import S3Storage

    try:
        key_id = reveal(section.access_key_id) if section.access_key_id else None
        secret = reveal(section.secret_access_key) if section.secret_access_key else None
    except SecretError as error:
        raise StorageError(f"The storage {name} has no key: {error}") from error
    return S3Storage(name, section, key_id, secret)


def open_all(
    sections: Mapping[str, config.StorageSection], names: Iterable[str]
) -> tuple[list[Storage], dict[str, StorageError]]:
    """The storages called `names` that can be opened, and why the others cannot: one must not cost the others."""
    opened: list[Storage] = []
    failed: dict[str, StorageError] = {}
    for name in names:
        try:
            opened.append(open_storage(name, sections[name]))
        except StorageError as error:
            failed[name] = error
    return opened, failed
