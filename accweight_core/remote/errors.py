"""What goes wrong with remote files: errors of the system's kind, without secrets, and retries."""

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
    """A remote file cannot be read; `strerror` says why in words and holds no secret."""

    def __init__(self, url: object, problem: str, code: int = errno.EIO) -> None:
        super().__init__(code, without_secrets(problem), str(url))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made of: another process may be told."""
        return type(self)._as_raised, (self.filename, self.strerror, self.errno)

    @classmethod
    def _as_raised(cls, url: str, problem: str, code: int) -> RemoteError:
        error = cls(url, problem)
        error.errno = code
        return error


class AbsentError(RemoteError, FileNotFoundError):
    """There is no such remote file, or none that may be seen."""

    def __init__(self, url: object, problem: str = "there is no such file or folder") -> None:
        super().__init__(url, problem, errno.ENOENT)


class UnreachableError(RemoteError):
    """A request failed as often as it may; the next one to that place would, too."""


class PassingError(Exception):
    """A request failed in a way that may be gone the next time.

    Attributes:
        pause_s: Seconds to wait that the server asked for.
    """

    def __init__(self, problem: str, pause_s: float = 0.0) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


def attempted(
    url: object, what: str, request: Callable[[], Answer], count_bytes: int = 0
) -> Answer:
    """Return the answer of a request that is made again if it fails in passing.

    It is not made again after some multiple of the time that it may take: a place that says
    nothing is asked less often than one that hangs up.

    Args:
        url: Of what, for the message.
        what: What is asked for, for the message: "bytes 0 to 99".
        request: Makes it; raises `PassingError`.
        count_bytes: Bytes that are asked for.

    Raises:
        UnreachableError: If it failed as often as it may.
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
