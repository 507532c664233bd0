"""Errors of remote files, as OSErrors without secrets, and retries of requests."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from accweight_core.remote.settings import settings
from accweight_core.remote.urls import without_secrets

Answer = TypeVar("Answer")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


class RemoteError(OSError):
    """A remote file cannot be read; `strerror` says why, without secrets."""

    def __init__(self, url: object, problem: str, code: int = errno.EIO) -> None:
        super().__init__(code, without_secrets(problem), str(url))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, so that the error can be sent to another process."""
        return type(self)._as_raised, (self.filename, self.strerror, self.errno)

    @classmethod
    def _as_raised(cls, url: str, problem: str, code: int) -> RemoteError:
        error = cls(url, problem)
        error.errno = code
        return error


class AbsentError(RemoteError, FileNotFoundError):
    """The remote file does not exist, or access is refused."""

    def __init__(self, url: object, problem: str = "there is no such file or folder") -> None:
        super().__init__(url, problem, errno.ENOENT)


class UnreachableError(RemoteError):
    """A request failed in all attempts; further requests to that server would, too."""


class PassingError(Exception):
    """A request failed for a reason that may be temporary.

    Attributes:
        pause_s: Seconds to wait before the next attempt, as requested by the server.
    """

    def __init__(self, problem: str, pause_s: float = 0.0) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


def attempted(
    url: object, what: str, request: Callable[[], Answer], count_bytes: int = 0
) -> Answer:
    """Return the answer of a request, which is retried after a `PassingError`.

    There are no more retries after a multiple of the time-out, so a server that does not answer
    gets fewer requests than one that closes connections.

    Args:
        url: The URL, for the message.
        what: What is requested, for the message: "bytes 0 to 99".
        request: Function that makes the request; may raise `PassingError`.
        count_bytes: Number of requested bytes.

    Raises:
        UnreachableError: If all attempts failed.
    """
    limits = settings()
    most, pause = limits.attempts, FIRST_PAUSE_S
    last = time.monotonic() + limits.timeout_s + 2 * limits.longest_s(count_bytes)
    for attempt in range(1, most + 1):
        try:
            return request()
        except PassingError as error:
            if attempt == most or time.monotonic() > last:
                tries = "once" if attempt == 1 else f"{attempt} times"
                raise UnreachableError(
                    url, f"{what}: {error}; tried {tries}. Check the connection and run it again"
                ) from None
            time.sleep(min(max(pause * random.uniform(0.5, 1), error.pause_s), LONGEST_PAUSE_S))
            pause *= 3
    raise AssertionError("there is at least one attempt")
