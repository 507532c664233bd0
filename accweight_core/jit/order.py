"""The summation order of a row, which NumPy and compiled loops share, bit for bit.

Sixteen partial sums run down the columns of a row; they are then added in pairs, followed by the
elements after the last whole sixteen. Squares are added by fused multiply-add, with one rounding,
if the processor has it (`fuses`).
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

import numpy as np

LANES = 16
"""Numbers processed at a time."""

LARGEST_SQUARE = 1e55
"""Sum of squares from which a row is not processed by the loops.

Below it, every weight is finite and every difference fits a float32.
"""

_ALWAYS_FUSE = ("aarch64", "arm64")
_FUSING = {"FMA3", "X86_V3", "X86_V4"}
_OTHER_CODE = "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT"


@cache
def fuses() -> bool:
    """Tell whether compiled loops round ``a + b * b`` once on this machine, for certain."""
    if any(os.environ.get(name) for name in _OTHER_CODE):
        return False
    if platform.machine().lower() in _ALWAYS_FUSE:
        return True
    config: Any = np.show_config(mode="dicts")
    found = config.get("SIMD Extensions", {}) if config else {}
    return not _FUSING.isdisjoint([*found.get("baseline", ()), *found.get("found", ())])
