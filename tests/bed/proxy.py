"""A TCP proxy that loses, stalls and corrupts what passes: a bad network that a test can steer."""

import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.bed.ports import free_port

Direction = Literal["up", "down"]
"""`up` is from client to server, `down` is from server to client."""

CHUNK = 65536
CONNECT_SECONDS = 10


@dataclass
class _Flow:
    """What passed in one direction over all connections, and what is to happen to it at which total."""

    passed: int = 0
    cut_at: int | None = None
    corrupt_at: int | None = None


@dataclass
class TcpProxy:
    """Forwards every connection to `target`. All byte counts are totals over all connections."""

    target: tuple[str, int]
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    _flows: dict[Direction, _Flow] = field(default_factory=lambda: {"up": _Flow(), "down": _Flow()})
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _flowing: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _acceptor: threading.Thread | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _garbled: tuple[bytes, bytes] = (b"", b"")

    @property
    def bytes_up(self) -> int:
        """Bytes forwarded from clients to the server."""
        return self._flows["up"].passed

    @property
    def bytes_down(self) -> int:
        """Bytes forwarded from the server to clients."""
        return self._flows["down"].passed

    def start(self) -> None:
        """Listen on a free loopback port, after `refuse` on the same one again."""
        self._flowing.set()
        self._listener = self._listen()
        self._listener.settimeout(0.1)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def refuse(self) -> None:
        """Stop listening: new connections are refused, those that are open stay. `start` undoes it."""
        listener, self._listener = self._listener, None
        if self._acceptor is not None:
            self._acceptor.join()
        if listener is not None:
            listener.close()

    def cut(self) -> None:
        """Break every open connection now, with a reset."""
        for each in list(self._open):
            _reset(each)

    def cut_after(self, count: int, direction: Direction = "down") -> None:
        """Let `count` more bytes pass that way, then break every connection, once."""
        with self._lock:
            self._flows[direction].cut_at = self._flows[direction].passed + count

    def corrupt(self, after: int = 0, direction: Direction = "down") -> None:
        """Flip one bit of the byte that follows `after` more bytes that way, once."""
        with self._lock:
            self._flows[direction].corrupt_at = self._flows[direction].passed + after

    def stall(self) -> None:
        """Keep connections open, accept new ones and let nothing pass until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let bytes pass again, those held back first."""
        self._flowing.set()

    def garble(self, answer: bytes, other: bytes) -> None:
        """Let what ends with `answer` end with `other`, which is as long, on its way down; until both are the same."""
        self._garbled = (answer, other)

    def stop(self) -> None:
        """Stop listening and break what is open."""
        self.refuse()
        self.cut()
        self._flowing.set()

    def _listen(self) -> socket.socket:
        self.port = self.port or free_port()
        return socket.create_server((self.host, self.port))

    def _dial(self) -> socket.socket:
        return socket.create_connection(self.target, CONNECT_SECONDS)

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = self._dial()
        except OSError:
            _reset(client)
            client.close()
            return
        server.settimeout(None)
        self.connections += 1
        self._open |= {client, server}
        threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """Forward both ways until both are done; only then are the sockets closed, by one owner."""
        upward = threading.Thread(target=self._forward, args=(client, server, "up"), daemon=True)
        upward.start()
        self._forward(server, client, "down")
        upward.join()
        for each in (client, server):
            self._open.discard(each)
            each.close()

    def _forward(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        try:
            while data := source.recv(CHUNK):
                self._flowing.wait()
                data, cut = self._pass(data, direction)
                sink.sendall(data)
                if cut:
                    self.cut()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(sink)

    def _pass(self, data: bytes, direction: Direction) -> tuple[bytes, bool]:
        """Count `data`; return what is left of it after corruption and cut, and whether to cut after it."""
        with self._lock:
            flow = self._flows[direction]
            answer, other = self._garbled
            if direction == "down" and answer != other and data.endswith(answer):
                data = data.removesuffix(answer) + other
            if flow.corrupt_at is not None and flow.corrupt_at < flow.passed + len(data):
                data = _with_flipped_bit(data, flow.corrupt_at - flow.passed)
                flow.corrupt_at = None
            cut = flow.cut_at is not None and flow.cut_at <= flow.passed + len(data)
            if cut and flow.cut_at is not None:
                data = data[: flow.cut_at - flow.passed]
                flow.cut_at = None
            flow.passed += len(data)
        return data, cut


@dataclass
class UnixProxy(TcpProxy):
    """The same between Unix sockets, such as the Docker engine's: from `path` to the socket at `engine`."""

    target: tuple[str, int] = ("", 0)
    path: str = ""
    engine: str = "/var/run/docker.sock"

    def _listen(self) -> socket.socket:
        Path(self.path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        return listener

    def _dial(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(CONNECT_SECONDS)
        server.connect(self.engine)
        return server


def _with_flipped_bit(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _reset(connection: socket.socket) -> None:
    """Break a connection; with linger 0 its close sends a reset, as a dying machine or firewall would."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
