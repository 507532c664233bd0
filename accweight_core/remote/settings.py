"""How patient and how greedy remote reading is; environment variables change it.

``ACCWEIGHT_REMOTE_TIMEOUT`` (seconds), ``ACCWEIGHT_REMOTE_ATTEMPTS``,
``ACCWEIGHT_REMOTE_REQUESTS`` (at a time) and ``ACCWEIGHT_REMOTE_MEMORY`` (MiB read ahead).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from accweight_core.errors import SourceError

SLOWEST_BYTES_PER_S = 1 << 14
"""What a link must bring: beyond the time-out, a request of n bytes gets n / this many seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of remote reading.

    Attributes:
        timeout_s: Seconds without a byte after which a request has failed.
        attempts: Times a request is made before it is given up.
        requests: Requests that may be under way at a time.
        memory_bytes: Bytes that may be kept of what was read ahead.
    """

    timeout_s: float = 30.0
    attempts: int = 4
    requests: int = 16
    memory_bytes: int = 256 << 20

    def longest_s(self, count: int) -> float:
        """Return the seconds after which a request for `count` bytes is given up."""
        return self.timeout_s + count / SLOWEST_BYTES_PER_S


def settings() -> Settings:
    """Return the settings, as the environment has them now.

    Raises:
        SourceError: If a variable is not a positive number.
    """
    usual = Settings()
    return Settings(
        timeout_s=_number("ACCWEIGHT_REMOTE_TIMEOUT", usual.timeout_s),
        attempts=round(_number("ACCWEIGHT_REMOTE_ATTEMPTS", usual.attempts, least=1)),
        requests=round(_number("ACCWEIGHT_REMOTE_REQUESTS", usual.requests, least=1)),
        memory_bytes=round(
            _number("ACCWEIGHT_REMOTE_MEMORY", usual.memory_bytes >> 20) * (1 << 20)
        ),
    )


def _number(variable: str, usual: float, *, least: float = 0.001) -> float:
    text = os.environ.get(variable)
    if text is None:
        return usual
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number < 1e9:
        raise SourceError(f"{variable} is {text!r}; expected a number of at least {least:g}")
    return number
