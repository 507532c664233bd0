"""Read URLs through the file systems of fsspec: S3, GCS, Hugging Face, SFTP, archives, memory.

Byte ranges are requested one by one, without the read-ahead of fsspec's files, which does not suit
our access pattern. Asynchronous file systems get several requests at a time, others one.
"""

from __future__ import annotations

import calendar
import errno
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from accweight_core.remote.errors import AbsentError, PassingError, RemoteError, attempted
from accweight_core.remote.settings import settings
from accweight_core.remote.transport import Seen, changed_by
from accweight_core.remote.urls import Url, without_secrets

Answer = TypeVar("Answer")

TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "Last-Modified",
         "created", "date_time")  # fmt: skip
TAGS = ("ETag", "etag", "md5Hash", "md5", "checksum", "generation", "blob_id", "sha", "CRC")
"""Names under which file systems report the time of the last change, and the version."""

CREDENTIAL_ERRORS = (
    ("botocore.exceptions", "NoCredentialsError"),
    ("botocore.exceptions", "PartialCredentialsError"),
    ("google.auth.exceptions", "DefaultCredentialsError"),
    ("azure.core.exceptions", "ClientAuthenticationError"),
)
"""Errors that libraries raise if there are no credentials. None of these modules is imported for
the check: a module that raised an error is loaded already."""

CHECKED_S = 20.0
"""Seconds for which a file counts as unchanged after a check."""


class Store:
    """Files of one file system of fsspec."""

    def __init__(self, file_system: Any, url: Url) -> None:
        self._fs = file_system
        self._lock = threading.Lock()
        self._checked: dict[str, float] = {}
        self._opens_plainly = True
        self._forget(url)

    def look(self, url: Url) -> Seen:
        """Return the metadata of a URL."""
        seen = attempted(url, "looking at it", lambda: self._looked(url))
        self._checked[str(url)] = time.monotonic()
        return seen

    def _looked(self, url: Url) -> Seen:
        info = self._asked(url, settings().timeout_s, "info", self._name(url))
        seen = _seen(info)
        if not seen.is_folder and seen.size_bytes is None:
            raise RemoteError(url, "its file system does not say how long it is", errno.ENOTSUP)
        return seen

    def entries(self, url: Url) -> Mapping[str, Seen]:
        """Return the entries of a folder, by name."""
        name = self._name(url)

        def listed() -> list[Mapping[str, Any]]:
            found: list[Mapping[str, Any]] = self._asked(
                url, settings().timeout_s, "ls", name, detail=True
            )
            return found

        own = name.strip("/")
        found: dict[str, Seen] = {}
        for info in attempted(url, "listing it", listed):
            folder, _, base = str(info["name"]).strip("/").rpartition("/")
            if base not in ("", ".", "..") and "::" not in base and folder == own:
                found[base] = Seen(
                    info.get("type") == "directory"
                )  # the rest may differ from `info`
        return found

    def fetch(self, url: Url, start: int, stop: int, seen: Seen) -> bytes:
        """Return a byte range of a file; check that it is unchanged if `CHECKED_S` have passed."""
        if time.monotonic() - self._checked.get(str(url), -CHECKED_S) >= CHECKED_S:
            self.check(url, seen)
        what = f"bytes {start} to {stop - 1}"
        return attempted(
            url, what, lambda: self._fetched(url, start, stop), count_bytes=stop - start
        )

    def _fetched(self, url: Url, start: int, stop: int) -> bytes:
        longest, name = settings().longest_s(stop - start), self._name(url)
        body: bytes
        if getattr(self._fs, "async_impl", False):
            body = self._asked(url, longest, "cat_file", name, start=start, end=stop)
        else:
            body = self._called(url, longest, lambda: self._read(name, start, stop))
        if len(body) != stop - start:
            raise PassingError(f"got {len(body)} bytes of {stop - start}")
        return body

    def _read(self, name: str, start: int, stop: int) -> bytes:
        """Open a file, and read a byte range of it without read-ahead."""
        options = {"cache_type": "none"} if self._opens_plainly else {}
        try:
            file = self._fs.open(name, "rb", **options)
        except TypeError:
            if not self._opens_plainly:
                raise
            self._opens_plainly = False
            file = self._fs.open(name, "rb")
        with file:
            file.seek(start)
            content: bytes = file.read(stop - start)
        return content

    def answers_all(self, url: Url) -> bool:
        """Return False: stores report only names that exist."""
        return False

    def check(self, url: Url, seen: Seen) -> None:
        """Raise if the size or version of the file has changed since `seen`."""
        self._forget(url)
        now = self.look(url)
        if (now.size_bytes, now.tag) != (seen.size_bytes, seen.tag):
            raise RemoteError(
                url, "the file has changed since it was described; start again", errno.ESTALE
            )

    def _name(self, url: Url) -> str:
        return str(self._fs._strip_protocol(url._joined(url.user_part)))

    def _forget(self, url: Url) -> None:
        """Remove a URL and its folder from the file system's cache of listings."""
        name = self._name(url)
        for path in (name, name.rstrip("/").rpartition("/")[0]):
            self._fs.invalidate_cache(path)

    def _asked(self, url: Url, longest_s: float, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the result of a method of the file system, with a time limit."""
        asynchronous = getattr(self._fs, f"_{method}", None)
        if not getattr(self._fs, "async_impl", False) or asynchronous is None:
            return self._called(url, longest_s, lambda: getattr(self._fs, method)(*args, **kwargs))
        from fsspec.asyn import sync

        return _translated_errors(
            url, lambda: sync(self._fs.loop, asynchronous, *args, timeout=longest_s, **kwargs)
        )

    def _called(self, url: Url, longest_s: float, call: Callable[[], Answer]) -> Answer:
        """Call a function without a time-out in a thread, which is abandoned if it hangs."""

        def alone() -> Answer:
            if not self._lock.acquire(timeout=longest_s):
                raise TimeoutError
            try:
                return call()
            finally:
                self._lock.release()

        return _translated_errors(url, lambda: within(2 * longest_s, alone))


def within(longest_s: float, call: Callable[[], Answer]) -> Answer:
    """Return the result of a call in a thread, which is abandoned after `longest_s` seconds.

    Raises:
        TimeoutError: If it takes longer.
    """
    results: list[Answer] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="remote", daemon=True)
    thread.start()
    thread.join(longest_s)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


def _translated_errors(url: Url, call: Callable[[], Answer]) -> Answer:
    """Return the result of a call; turn errors of file systems into RemoteError or PassingError."""
    try:
        return call()
    except (RemoteError, PassingError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise AbsentError(url) from None
    except PermissionError as error:
        problem = f"access is refused; are the credentials right? ({_line(error)})"
        raise AbsentError(url, problem) from None
    except TimeoutError:
        raise PassingError(f"no answer within {settings().timeout_s:g} s") from None
    except (TypeError, ValueError, NotImplementedError, AttributeError, ImportError) as error:
        raise RemoteError(url, f"its file system cannot do that ({_line(error)})") from None
    except Exception as error:  # file systems raise errors of many types
        if _lacks_credentials(error):
            raise AbsentError(url, f"there are no credentials ({_line(error)})") from None
        raise PassingError(_line(error)) from None


def _lacks_credentials(error: Exception) -> bool:
    """Tell whether an error says that there are no credentials, so that a retry is useless."""
    if isinstance(error, _known("gcsfs.retry", "HttpError")):
        return "credential" in str(error).lower()  # gcsfs has one class for all HTTP errors
    return any(isinstance(error, _known(*name)) for name in CREDENTIAL_ERRORS)


def _known(module: str, name: str) -> tuple[type, ...]:
    """Return a class of a module as a tuple, empty if the module is not loaded."""
    found = getattr(sys.modules.get(module), name, None)
    return (found,) if isinstance(found, type) else ()


def _line(error: BaseException) -> str:
    text = without_secrets(" ".join(str(error).split()))[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _seen(info: Mapping[str, Any]) -> Seen:
    """Return the `info` of a file system as metadata."""
    size = info.get("size")
    tag = next((str(info[key]) for key in TAGS if info.get(key)), "")
    times = [at for key in TIMES if (at := _time_s(info.get(key))) is not None]
    return Seen(
        is_folder=info.get("type") == "directory",
        size_bytes=size if isinstance(size, int) and size >= 0 else None,
        changed_ns=int(times[0]) * 10**9 if times else changed_by(tag),
        tag=tag or str(times[:1]),
    )


def _time_s(value: Any) -> float | None:
    """Return a time, in any form that file systems use, in seconds since 1970."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return calendar.timegm(aware.utctimetuple()) + aware.microsecond / 10**6
    if isinstance(value, int | float) and 0 < value < 1e11:
        return float(value)
    if isinstance(value, tuple) and len(value) == 6:  # a member of a zip
        return float(calendar.timegm((*value, 0, 0, 0)))
    return None
