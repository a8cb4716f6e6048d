"""Where backups are kept: the contract, two storages that keep it, the way in and the record of what is
there."""

from __future__ import annotations

from tasks import config
from tasks.secrets import reveal
from tasks.storage.contract import Storage, Stored
from tasks.storage.local import LocalStorage

__all__ = ["Storage", "Stored", "open_storage"]


def open_storage(name: str, section: config.StorageSection) -> Storage:
    """The storage that the section called `name` describes; nothing is written or connected to yet.

    Raise SecretError if a key to it cannot be found, StorageError if the section cannot be used.
    """
    if isinstance(section, config.LocalStorage):
        return LocalStorage(name, section.path)
    # boto3 takes a third of a second to import, and most commands need no bucket.
    from tasks.storage.s3 import S3Storage

    key_id = reveal(section.access_key_id) if section.access_key_id else None
    secret = reveal(section.secret_access_key) if section.secret_access_key else None
    return S3Storage(name, section, key_id, secret)
