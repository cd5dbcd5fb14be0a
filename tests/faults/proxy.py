"""A TCP proxy between a worker and its database, whose line can be cut, silenced, or made to lose the replies."""

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

_BUFFER = 65536
_TICK_S = 0.02


class Proxy:
    """Forwards connections to one server. A context manager."""

    def __init__(self, host: str, port: int, *, heard: Callable[[bytes], None] = lambda _data: None) -> None:
        """Forward to a server; `heard` is given all that passes, either way."""
        self._target = (host, port)
        self._heard = heard
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._silent = threading.Event()
        self._deaf = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        """Start forwarding."""
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop, and close everything."""
        self._ended.set()
        self._thread.join()
        self.cut()

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        with self._lock:
            self._listener.close()
            for pair in self._pairs:
                self._close(pair)
            self._pairs = []

    def mend(self) -> None:
        """Accept and forward again."""
        self._silent.clear()
        self._deaf.clear()
        with self._lock:
            if self._listener.fileno() < 0:
                self._listener = self._listen(self.port)

    def lead_to(self, host: str, port: int) -> None:
        """Forward new connections to another server; those that there are stay where they are."""
        self._target = (host, port)

    def silence(self) -> None:
        """Forward nothing, close nothing."""
        self._silent.set()

    def lose_replies(self) -> None:
        """Forward what the worker says and drop what the server answers."""
        self._deaf.set()

    def _serve(self) -> None:
        while not self._ended.wait(0):
            with self._lock:
                ends = [one for pair in self._pairs for one in pair]
                listener = [self._listener] if self._listener.fileno() >= 0 else []
                if not self._silent.is_set():
                    with suppress(OSError, ValueError):
                        for ready in select.select([*listener, *ends], [], [], 0)[0]:
                            self._accept() if ready in listener else self._forward(ready)
                        if ends and select.select(ends, [], [], 0)[0]:
                            continue
            self._ended.wait(_TICK_S if self._silent.is_set() else 0.001)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            self._pairs.append((near, socket.create_connection(self._target, timeout=5)))
        except OSError:
            near.close()

    def _forward(self, ready: socket.socket) -> None:
        pair = next((one for one in self._pairs if ready in one), None)
        if pair is None:
            return
        data = b""
        with suppress(OSError):
            data = ready.recv(_BUFFER)
        self._heard(data)
        other = pair[1] if ready is pair[0] else pair[0]
        try:
            if not (self._deaf.is_set() and ready is pair[1]):
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._pairs.remove(pair)
            self._close(pair)

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(32)
        return listener

    @staticmethod
    def _close(pair: tuple[socket.socket, socket.socket]) -> None:
        for one in pair:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
