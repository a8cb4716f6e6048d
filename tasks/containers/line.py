"""Our end of a connection to a program that the engine runs for us. When this process ends, the kernel closes it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from typing import Any

from tasks.errors import RollcallError


class Line:
    """The connection. failure: the error that ended a stream which was sent over it."""

    def __init__(self, connection: Any) -> None:
        self._file = connection
        self._socket = getattr(connection, "_sock", connection)
        self._socket.settimeout(None)
        self._feeder: threading.Thread | None = None
        self.failure: RollcallError | None = None

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Send a stream beside the caller, until it ends or nobody wants more of it."""
        self._feeder = threading.Thread(target=self._send, args=(chunks,), name="feed", daemon=True)
        self._feeder.start()

    def _send(self, chunks: Iterable[bytes]) -> None:
        """A closed line is no error here: the program wants no more, and its exit status says why. What the stream
        itself raises hangs up, and is the line's `failure`."""
        try:
            for chunk in chunks:
                self._socket.sendall(chunk)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return
        except RollcallError as error:
            self.failure = error
            self.hang_up()

    def hang_up(self) -> None:
        """End the connection; whoever reads from it or sends to it is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, close the library's file and the socket that is behind it; whoever is still sending is stopped."""
        self.hang_up()
        for each in (self._file, self._socket):
            with contextlib.suppress(OSError):
                each.close()
        if self._feeder and self._feeder is not threading.current_thread():
            self._feeder.join()
