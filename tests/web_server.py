"""A real HTTP server on loopback, which counts what it sends and can be made to misbehave."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

Behaviour = Callable[["Handler", Path], bool]
"""Answers a request for a file in its own way, or returns False to have it answered as usual."""


@dataclass
class Served:
    """What a server serves, how, and what it has sent.

    Attributes:
        folder: The files.
        url: Where they are.
        ranges: Whether parts of files are sent.
        lists: Whether folders are listed.
        tags: Whether files have an ETag and a date.
        latency_s: Pause before every answer.
        misbehave: What to do instead for a file.
        requests: Requests so far, as (method, path, range).
        sent_bytes: Bytes of bodies sent.
        most_at_once: Most requests that were waiting for an answer at one time.
    """

    folder: Path
    url: str = ""
    ranges: bool = True
    lists: bool = True
    tags: bool = True
    latency_s: float = 0.0
    misbehave: Behaviour = lambda handler, path: False
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    sent_bytes: int = 0
    most_at_once: int = 0
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forget(self) -> None:
        """Count from here on."""
        self.requests, self.sent_bytes, self.most_at_once = [], 0, 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request that waits for its answer."""
        with self.lock:
            self.waiting += 1
            self.most_at_once = max(self.most_at_once, self.waiting)
        try:
            yield
        finally:
            with self.lock:
                self.waiting -= 1


class Handler(BaseHTTPRequestHandler):
    """Answers for a `Served`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: Served

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer HEAD, which nobody needs to ask."""
        self._counted()
        self.plain(405, b"")

    def do_GET(self) -> None:
        """Answer GET."""
        self._counted()
        with self.served.answering():
            time.sleep(self.served.latency_s)
        path = self.served.folder / unquote(urlsplit(self.path).path).strip("/")
        if self.served.misbehave(self, path):
            return
        if path.is_dir():
            self._folder(path)
        elif path.is_file():
            self.file(path)
        else:
            self.plain(404, b"no such file")

    def _counted(self) -> None:
        with self.served.lock:
            asked = self.command, self.path, self.headers.get("Range", "")
            self.served.requests.append(asked)

    def _folder(self, path: Path) -> None:
        if not urlsplit(self.path).path.endswith("/"):
            self.plain(301, b"", Location=quote(urlsplit(self.path).path) + "/")
        elif not self.served.lists:
            self.plain(403, b"no listing")
        else:
            names = [f.name + "/" * f.is_dir() for f in sorted(path.iterdir())]
            links = "".join(f'<li><a href="{quote(name)}">{name}</a></li>' for name in names)
            page = f'<a href="?C=N;O=D">Name</a><a href="../">up</a><ul>{links}</ul>'
            self.plain(200, page.encode(), **{"Content-Type": "text/html; charset=utf-8"})

    def file(self, path: Path) -> None:
        """Send a file, or the range of it that is asked for."""
        size = path.stat().st_size
        headers = {"Content-Type": "application/octet-stream"}
        if self.served.tags:
            state = path.stat()
            headers["ETag"] = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
            headers["Last-Modified"] = formatdate(state.st_mtime, usegmt=True)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not (found and self.served.ranges):
            self.plain(200, path.read_bytes(), **headers)
            return
        start, stop = int(found[1]), min(int(found[2]) + 1, size)
        if start >= size:
            self.plain(416, b"", **headers, **{"Content-Range": f"bytes */{size}"})
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.plain(206, part(path, start, stop), **headers)

    def plain(self, status: int, body: bytes, **headers: str) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with self.served.lock:
            self.served.sent_bytes += len(body)
        if self.command != "HEAD":
            self.wfile.write(body)


def part(path: Path, start: int, stop: int) -> bytes:
    """Return a range of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def serving(folder: Path, handler: type[Handler] = Handler) -> Iterator[Served]:
    """Serve a folder meanwhile."""
    served = Served(folder)
    server = _Server(("127.0.0.1", 0), type("Own", (handler,), {"served": served}))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
