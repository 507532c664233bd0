"""HTTP: read byte ranges of files, and listings of folders that the server sends as pages.

Every answer is checked: it must be the requested range, of a file of the same size and version, not
compressed, and not too long. Without range support on the server, only small files can be read.
Session, headers, credentials and the handling of redirects are those of fsspec's HTTP file system
and its configuration.
"""

from __future__ import annotations

import asyncio
import errno
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from accweight_core.remote.byte_budget import ByteBudget
from accweight_core.remote.errors import AbsentError, PassingError, RemoteError, attempted
from accweight_core.remote.html_index import links_below
from accweight_core.remote.settings import SLOWEST_BYTES_PER_S, settings
from accweight_core.remote.transport import Seen, changed_by
from accweight_core.remote.urls import Url

if TYPE_CHECKING:
    from fsspec.implementations.http import HTTPFileSystem

HEAD_BYTES = 1 << 16
"""Bytes of a file fetched together with its metadata: most headers, and all of small files."""

WHOLE_BYTES = 8 << 20
"""Files up to this size are read whole if the server does not support ranges."""

WHOLE_IN_ALL = 128 << 20
"""Limit of the bytes of all such files, which stay in memory."""

PAGE_BYTES = 8 << 20
"""Limit of the page that lists a folder."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
REFUSED = {
    401: "HTTP 401: the server wants credentials",
    403: "HTTP 403: access is refused; are the credentials right, or has a signed URL expired?",
    404: "HTTP 404: there is no such file",
    410: "HTTP 410: the file is gone",
}
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")

ANSWERS_ALL = "the server answers every name with success, also one that no file can have"

KEPT_WHOLE = ByteBudget(WHOLE_IN_ALL)
"""Budget of files read whole, shared by all sites of this process: each run has its own sites."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response.

    Attributes:
        status: Status code.
        headers: Headers, names in lower case.
        place: URL after redirects.
        body: Body, up to the limit of the request.
        is_whole: Whether the whole body was read.
    """

    status: int
    headers: Mapping[str, str]
    place: str
    body: bytes
    is_whole: bool

    @property
    def range(self) -> tuple[int, int, int | None] | None:
        """First byte, byte after the last, and file size from Content-Range; None without it."""
        found = _RANGE.fullmatch(self.headers.get("content-range", "").strip())
        if found is None:
            return None
        size = None if found[3] == "*" else int(found[3])
        return (int(found[1]), int(found[2]) + 1, size) if found[1] else (0, 0, size)

    @property
    def tag(self) -> str:
        """ETag, or else the time of the last change."""
        return self.headers.get("etag", "") or self.headers.get("last-modified", "")

    @property
    def changed_ns(self) -> int:
        """Time of the last change in ns; derived from the ETag if the server does not send it."""
        try:
            written = parsedate_to_datetime(self.headers.get("last-modified", ""))
            return int(written.timestamp()) * 10**9
        except (ValueError, TypeError, OverflowError):
            return changed_by(self.headers.get("etag", ""))


class Web:
    """Files at HTTP URLs, read through the session of fsspec's HTTP file system.

    Attributes:
        places: Where files were found at another server, by redirects.
    """

    def __init__(self, file_system: HTTPFileSystem, kept_whole: ByteBudget = KEPT_WHOLE) -> None:
        """Create the transport.

        Args:
            file_system: File system with the session, headers and credentials.
            kept_whole: Budget for files that are kept whole, as the server has no ranges.
        """
        self._fs = file_system
        self._kept_whole = kept_whole
        self.places: dict[str, str] = {}
        self._answers_all: dict[str, bool] = {}
        self._sends_whole = False

    def look(self, url: Url) -> Seen:
        """Return the metadata and first bytes of a file, or the metadata of a folder.

        A page or an empty answer does not count as a file if the server sends one for every name.
        """
        seen = attempted(url, "looking at it", lambda: self._looked(url))
        is_doubtful = not seen.is_folder and (not seen.size_bytes or is_page(seen.head))
        if is_doubtful and self.answers_all(url):
            what = "a page of HTML" if seen.size_bytes else "an empty file"
            raise AbsentError(url, f"{ANSWERS_ALL}, here with {what}; is the URL right?")
        return seen

    def answers_all(self, url: Url) -> bool:
        """Tell whether the server answers a random name in the same folder with success.

        Makes a request only if the server has sent a file without ranges, as it does for pages.
        """
        return self._sends_whole and self._answers_any_in(url.parent())

    def _answers_any_in(self, folder: Url) -> bool:
        if str(folder) not in self._answers_all:
            unknown = folder.child(f"accweight-asks-for-no-file-{token_hex(16)}")
            try:
                is_answered = not self._looked(unknown).is_folder
            except (PassingError, RemoteError):
                is_answered = False
            self._answers_all[str(folder)] = is_answered
        return self._answers_all[str(folder)]

    def _looked(self, url: Url) -> Seen:
        reply = self._get(url, url.full, (0, HEAD_BYTES), WHOLE_BYTES)
        if urlsplit(reply.place).path.endswith("/"):
            return Seen(is_folder=True)
        if reply.status == 416 and reply.range and reply.range[2] == 0:
            return Seen(False, 0, reply.changed_ns, reply.tag)
        if reply.status == 200:
            return self._without_ranges(url, reply)
        first, stop, size = self._range(url, reply)
        if first != 0 or stop != min(HEAD_BYTES, size) or len(reply.body) < stop:
            raise PassingError(f"the server sent {len(reply.body)} bytes of {stop}")
        return Seen(False, size, reply.changed_ns, reply.tag, reply.body[:stop])

    def _without_ranges(self, url: Url, reply: Reply) -> Seen:
        """Return the metadata of a small file with all its bytes; raise for a large file."""
        self._sends_whole = True
        if not reply.is_whole:
            raise RemoteError(
                url,
                "the server sends whole files only (no HTTP ranges), and this one has more than "
                f"{WHOLE_BYTES >> 20} MiB; download it, or use a server that sends ranges",
                errno.ENOTSUP,
            )
        seen = Seen(False, len(reply.body), reply.changed_ns, reply.tag, reply.body)
        is_large = len(seen.head) > HEAD_BYTES
        if is_large and not self._kept_whole.takes(seen, len(seen.head)):
            raise RemoteError(
                url,
                "the server sends whole files only (no HTTP ranges), and they have more than "
                f"{WHOLE_IN_ALL >> 20} MiB in all; download them",
                errno.ENOTSUP,
            )
        return seen

    def fetch(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return a byte range of a file, checked against the version in `seen`."""
        what = f"bytes {start} to {stop - 1}"
        return attempted(
            url, what, lambda: self._fetched(url, start, stop, seen), count_bytes=stop - start
        )

    def _fetched(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        reply = self._get(url, url.full, (start, stop), stop - start)
        if reply.status == 416:
            raise _changed(url, f"it does not reach to byte {stop - 1} any more")
        if reply.status == 200 and seen.tag and reply.tag and reply.tag != seen.tag:
            raise _changed(url, "its version differs")
        if reply.status != 206:
            raise RemoteError(
                url,
                f"bytes {start} to {stop - 1}: the server does not send ranges any more "
                f"(HTTP {reply.status})",
            )
        first, end, size = self._range(url, reply)
        if size != seen.size_bytes:
            raise _changed(url, f"it had {seen.size_bytes} bytes and has {size}")
        if seen.tag and reply.tag and reply.tag != seen.tag:
            raise _changed(url, "its version differs")
        if (first, end) != (start, stop):
            raise RemoteError(
                url, f"asked for bytes {start} to {stop - 1}, got {first} to {end - 1}"
            )
        if len(reply.body) < stop - start:
            raise PassingError(f"the server sent {len(reply.body)} bytes of {stop - start}")
        return reply.body

    def _range(self, url: Url, reply: Reply) -> tuple[int, int, int]:
        if reply.status != 206:
            raise RemoteError(url, f"the server answers HTTP {reply.status}")
        if reply.range is None or reply.range[2] is None:
            raise RemoteError(url, "the server does not say how long the file is (Content-Range)")
        return reply.range[0], reply.range[1], reply.range[2]

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return the files and folders directly below a folder, from the links of its page."""
        reply = attempted(url, "listing it", lambda: self._page(url))
        below = links_below(reply.place, reply.body.decode("utf-8", "replace"))
        if not below and self._answers_any_in(url):
            raise RemoteError(url, f"{ANSWERS_ALL}, here with a page without links")
        return {name: Seen(is_folder) for name, is_folder in below.items()}

    def _page(self, url: Url) -> Reply:
        reply = self._get(url, url.full_folder, None, PAGE_BYTES)
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if reply.status != 200 or kind not in ("text/html", "application/xhtml+xml"):
            raise RemoteError(
                url, "the server sends no page that lists this folder; name the files one by one"
            )
        if not reply.is_whole:
            raise RemoteError(url, f"the page that lists it has more than {PAGE_BYTES >> 20} MiB")
        return reply

    def check(self, url: Url, seen: Seen) -> None:
        """Do nothing, as `fetch` checks every answer."""

    def _get(self, url: Url, address: str, span: tuple[int, int] | None, most: int) -> Reply:
        """Return the response to one request, with at most `most` bytes of its body.

        Raises:
            AbsentError: If the file does not exist, or the server refuses access.
            PassingError: If the request failed for a reason that may be temporary.
        """
        import aiohttp
        from fsspec.asyn import sync
        from fsspec.exceptions import FSTimeoutError

        limits = settings()
        longest = 3 * limits.timeout_s + limits.longest_s(most)
        try:
            reply: Reply = sync(
                self._fs.loop, self._asked, address, span, most, limits.timeout_s, timeout=longest
            )
        except (FSTimeoutError, TimeoutError):
            raise PassingError(f"no answer within {limits.timeout_s:g} s") from None
        except (PassingError, RemoteError):
            raise
        except ValueError as error:  # an invalid URL or redirect
            raise RemoteError(url, f"cannot be asked for: {error}") from None
        except aiohttp.TooManyRedirects:
            raise RemoteError(
                url, "the server redirects from place to place without an end"
            ) from None
        except Exception as error:
            raise PassingError(_reason(error)) from None
        if urlsplit(reply.place).netloc.lower() != url.host:
            self.places[str(url)] = reply.place
        if reply.status in REFUSED:
            raise AbsentError(url, REFUSED[reply.status])
        if reply.status in PASSING:
            raise PassingError(f"the server answers HTTP {reply.status}", _pause(reply.headers))
        if _is_encoded(reply.headers):
            raise RemoteError(
                url, "the server sends it compressed, so that its bytes have no place"
            )
        return reply

    async def _asked(
        self, address: str, span: tuple[int, int] | None, most: int, quiet_s: float
    ) -> Reply:
        """Make one request in fsspec's event loop; fail after `quiet_s` seconds without data."""
        import aiohttp
        import yarl

        options: dict[str, Any] = dict(self._fs.kwargs)
        headers = {**(options.pop("headers", None) or {}), "Accept-Encoding": "identity"}
        if span:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        options.setdefault(
            "timeout",
            aiohttp.ClientTimeout(total=None, sock_connect=quiet_s, sock_read=quiet_s),
        )
        session = await self._fs.set_session()
        async with asyncio.timeout(2 * quiet_s):  # limits headers that arrive byte by byte
            got = await session.get(yarl.URL(address, encoded=True), headers=headers, **options)
        try:
            body, is_whole = b"", True
            lower = {name.lower(): value for name, value in got.headers.items()}
            if got.status in (200, 206):
                is_whole = not (_is_encoded(lower) or _is_longer(lower, most))
                if is_whole:
                    body, is_whole = await _body(got.content, most, quiet_s)
            return Reply(got.status, lower, str(got.url), body, is_whole)
        finally:
            got.release()  # closes the connection if the body is incomplete, without waiting for it


def is_page(head: bytes) -> bool:
    """Tell whether the first bytes of a file look like an HTML page."""
    begin = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return begin.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _is_encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity") not in ("", "identity")


def _is_longer(headers: Mapping[str, str], most: int) -> bool:
    length = headers.get("content-length", "")
    return length.isdecimal() and (len(length) > 18 or int(length) > most)


async def _body(content: Any, most: int, quiet_s: float) -> tuple[bytes, bool]:
    """Return a body up to `most` bytes, and whether that is all of it."""
    body = bytearray()
    begin = time.monotonic()
    while len(body) <= most:
        if time.monotonic() - begin > quiet_s + len(body) / SLOWEST_BYTES_PER_S:
            raise TimeoutError
        async with asyncio.timeout(quiet_s):  # aiohttp waits for ever if Content-Length is too big
            piece = await content.read(min(1 << 16, most + 1 - len(body)))
        if not piece:
            return bytes(body), True
        body += piece
    return bytes(body[:most]), False


def _changed(url: Url, how: str) -> RemoteError:
    return RemoteError(
        url, f"the file has changed since it was described: {how}; start again", errno.ESTALE
    )


def _pause(headers: Mapping[str, str]) -> float:
    wanted = headers.get("retry-after", "")
    return float(wanted) if wanted.isdecimal() and len(wanted) < 4 else 0.0


def _reason(error: Exception) -> str:
    """Return a description of a connection error without the URL, which aiohttp's text includes."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        return f"the server cannot be reached ({error.os_error.strerror or 'no connection'})"
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return "the connection was closed before the end"
    return f"the request failed ({type(error).__name__})"
