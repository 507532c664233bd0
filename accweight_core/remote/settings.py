"""Limits of remote reading, which environment variables can change.

``ACCWEIGHT_REMOTE_TIMEOUT`` (seconds), ``ACCWEIGHT_REMOTE_ATTEMPTS``,
``ACCWEIGHT_REMOTE_REQUESTS`` (at a time) and ``ACCWEIGHT_REMOTE_MEMORY`` (MiB of prefetched bytes).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from accweight_core.errors import SourceError

SLOWEST_BYTES_PER_S = 1 << 14
"""Slowest accepted rate: a request of n bytes may take n / rate seconds beyond the time-out."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of remote reading.

    Attributes:
        timeout_s: Seconds without a byte after which a request fails.
        attempts: Number of attempts per request.
        requests: Limit of concurrent requests.
        memory_bytes: Limit of prefetched bytes in memory.
    """

    timeout_s: float = 30.0
    attempts: int = 4
    requests: int = 16
    memory_bytes: int = 256 << 20

    def longest_s(self, count: int) -> float:
        """Return the time limit, in seconds, of a request for `count` bytes."""
        return self.timeout_s + count / SLOWEST_BYTES_PER_S


def settings() -> Settings:
    """Return the settings from the current environment variables.

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
