"""The order in which rows are added up: what the loops of both makes agree on, bit for bit.

Sixteen sums go down the columns of a row side by side; in the end they are added in pairs, then
what is left behind the last whole sixteen. A square that is added to such a sum is not rounded
before, if the processor can do that at all (`fuses`).
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

import numpy as np

LANES = 16
"""Numbers that are worked on at a time."""

LARGEST_SQUARE = 1e55
"""Sum of squares of a row from which on it is not worked by the loops.

Below, every weight is finite, and its distance from any other is a float32.
"""

_ALWAYS_FUSE = ("aarch64", "arm64")
_FUSING = {"FMA3", "X86_V3", "X86_V4"}
_OTHER_CODE = "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT"


@cache
def fuses() -> bool:
    """Tell whether compiled loops surely round ``a + b * b`` once on this machine."""
    if any(os.environ.get(name) for name in _OTHER_CODE):
        return False
    if platform.machine().lower() in _ALWAYS_FUSE:
        return True
    config: Any = np.show_config(mode="dicts")
    found = config.get("SIMD Extensions", {}) if config else {}
    return not _FUSING.isdisjoint([*found.get("baseline", ()), *found.get("found", ())])
