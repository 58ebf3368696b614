"""A TCP proxy in front of a server: it delays what passes, and counts round trips.

A *round trip* is counted each time the client speaks after the server has (or for the first time): what a
client sends in one go, before it hears anything, is one round trip however many messages it holds.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CHUNK = 65536


class Proxy:
    """A proxy on a free port of this machine.

    Attributes
    ----------
    delay_s : float
        How long each piece waits, each way; may be changed while connections are open.
    round_trips : int
        As counted so far, over all connections.
    """

    def __init__(self, host: str, port: int, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.round_trips = 0
        self._target = (host, port)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            speaker = ["server"]
            with self._lock:
                self._sockets += [client, server]
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, who in ((client, server, "client"), (server, client, "server")):
                threading.Thread(target=self._forward, args=(source, sink, who, speaker), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, who: str, speaker: list[str]) -> None:
        # A line carries several pieces at once: each waits from when it came, not until the one before is there.
        pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        carrier = threading.Thread(target=self._carry, args=(pieces, sink), daemon=True)
        carrier.start()
        try:
            while piece := source.recv(_CHUNK):
                with self._lock:
                    if who == "client" and speaker[0] == "server":
                        self.round_trips += 1
                    speaker[0] = who
                pieces.put((time.monotonic() + self.delay_s, piece))
        except OSError:
            pass  # either end has closed: so does the other
        finally:
            pieces.put((0.0, b""))
            carrier.join()
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _carry(self, pieces: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        with suppress(OSError):
            while (entry := pieces.get())[1]:
                time.sleep(max(entry[0] - time.monotonic(), 0.0))
                sink.sendall(entry[1])

    def cut(self) -> None:
        """Drop every connection, as a network does."""
        with self._lock:
            ends, self._sockets = self._sockets, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Drop every connection and take no more."""
        self._listener.close()
        self.cut()


@contextmanager
def proxied(url: str, delay_s: float = 0.0) -> Iterator[tuple[str, Proxy]]:
    """The URL of a proxy in front of the server of ``url``, and the proxy."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432, delay_s)
    login = parts.netloc.rpartition("@")[0]
    try:
        yield parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}").geturl(), proxy
    finally:
        proxy.close()
