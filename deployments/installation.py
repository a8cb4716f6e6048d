"""What tells this installation from others on the same Prefect server: an id of its own, kept in its state folder.

Neither the folder's path nor the machine's name would do: two hosts may have the same path, and a name may change. Who
copies a state folder to a second machine removes the file there.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from contextlib import suppress
from pathlib import Path

from tasks.errors import ConfigError

NEW = "new"
"""In place of the id, where there is none yet and none is to be made."""


def installation(state: Path, *, make: bool = False) -> str:
    """The id, 12 hexadecimal digits; where there is none, `make` says whether to make one, else NEW.

    Raise ConfigError where the state folder cannot be used, or the file holds something else.
    """
    path = state / "installation"
    try:
        if make and not path.exists():
            _write(path)
        found = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return NEW
    except OSError as error:
        raise ConfigError(f"The state folder {state} cannot be used: {error.strerror}. Check `state`.") from error
    if not re.fullmatch(r"[0-9a-f]{12}", found):
        raise ConfigError(f"{path} holds no id of an installation; remove it, then run rollcall automations apply.")
    return found


def former_installation(state: Path) -> str:
    """What marked the automations before there were ids: a hash of the folder's path, which another host may share."""
    return hashlib.sha256(str(state).encode()).hexdigest()[:12]


def _write(path: Path) -> None:
    """Whoever makes it at the same time, the first one stands. No draft that is linked to its name: not every file
    system has hard links."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError), path.open("x") as file:
        try:
            file.write(f"{secrets.token_hex(6)}\n")
            file.flush()
        except OSError:
            path.unlink()
            raise
