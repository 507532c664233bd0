"""A server on loopback that sends bytes as they are given, and stops where it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answer = Callable[["Connection"], None]
"""Sends an answer to one request."""


class Connection:
    """A request, and what is sent for it.

    Attributes:
        path: What was asked for.
        span: First byte and the one behind the last that were asked for, if any were.
        ended: Set when the server stops.
    """

    def __init__(self, own: socket.socket, head: str, ended: threading.Event) -> None:
        self._own = own
        self.path = head.split()[1]
        fields = [line.partition(":") for line in head.splitlines()[1:]]
        spans = [value.strip() for name, _, value in fields if name.lower() == "range"]
        first, _, last = spans[0].removeprefix("bytes=").partition("-") if spans else ("", "", "")
        self.span = (int(first), int(last) + 1) if spans else None
        self.ended = ended

    def send(self, content: bytes) -> None:
        """Send bytes."""
        self._own.sendall(content)

    def stall(self) -> None:
        """Send nothing more, and keep the connection open."""
        self.ended.wait()

    def drip(self, content: bytes, pause_s: float) -> None:
        """Send bytes one by one."""
        for byte in content:
            self.send(bytes([byte]))
            if self.ended.wait(pause_s):
                return

    def endlessly(self, content: bytes) -> None:
        """Send bytes again and again, as fast as they are taken."""
        while not self.ended.is_set():
            self.send(content)

    def file(self, content: bytes) -> None:
        """Send the range of a file that was asked for."""
        start, stop = self.span or (0, len(content))
        stop = min(stop, len(content))
        self.send(ranged(start, stop, len(content)) + content[start:stop])


def ranged(start: int, stop: int, size: int) -> bytes:
    """Return the head of an answer with a range of a file."""
    return (
        f"HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{stop - 1}/{size}\r\n"
        f"Content-Length: {stop - start}\r\n\r\n"
    ).encode()


def plain(body: bytes, status: str = "200 OK", kind: str = "application/octet-stream") -> bytes:
    """Return a whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def serving_raw(answer: Answer) -> Iterator[str]:
    """Answer requests meanwhile; gives the URL of the server."""
    ended = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    listening.settimeout(0.05)

    def one(own: socket.socket) -> None:
        with own, suppress(OSError):
            own.settimeout(20)
            while head := _head(own):
                answer(Connection(own, head, ended))

    def accept() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                own, _ = listening.accept()
                threading.Thread(target=one, args=(own,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listening.close()


def _head(own: socket.socket) -> str:
    """Return the head of a request, nothing when there are no more."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = own.recv(1 << 16)
        if not piece:
            return ""
        head += piece
    return head.decode("latin-1")
