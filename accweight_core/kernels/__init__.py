"""The arithmetic of accweight as pure functions on tensors, on any device.

Three plain formulas (`step_change`, `accumulate_`, `normalised`) are the reference for all
that is faster. `measure_step` is the fused form: one step of one block in, every partial
sum of every metric out. It works on rows, one row per *sub-block*, a stretch of a parameter
whose length depends on the parameter's shape alone (`partition`). Sums never cross a row, so
cutting a parameter at sub-block boundaries, in files, threads or live training, changes no bit.

The plain formulas take NumPy arrays as well and return what they were given. Beside
`partition` and `errors` this package needs NumPy alone, and torch for tensors, so that other
tools can embed it. It says what is missing when a name is first used: `tensors` has all of
them, `arrays` the plain formulas for where torch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from accweight_core.errors import MissingLibraryError
from accweight_core.metrics.sub_blocks import SUB_BLOCK, Partition, partition
from accweight_core.metrics.sums import SUMS

if TYPE_CHECKING:
    from accweight_core.kernels.tensors import (
        BlockState,
        Scratch,
        accumulate_,
        accumulate_compensated_,
        measure_step,
        mend,
        normalised,
        squares,
        start_block,
        step_change,
        widened_dtype,
    )

__all__ = [
    "SUB_BLOCK",
    "SUMS",
    "BlockState",
    "Partition",
    "Scratch",
    "accumulate_",
    "accumulate_compensated_",
    "measure_step",
    "mend",
    "normalised",
    "partition",
    "squares",
    "start_block",
    "step_change",
    "widened_dtype",
]

PLAIN = ("accumulate_", "accumulate_compensated_", "normalised", "step_change")
"""The formulas that arrays have without torch."""


def __getattr__(name: str) -> Any:
    """Load a formula on first use: that on tensors, or on arrays where torch is not installed."""
    if name not in __all__:
        raise AttributeError(f"module 'accweight_core.kernels' has no attribute {name!r}")
    value = getattr(import_module(f"accweight_core.kernels.{_home(name)}"), name)
    globals()[name] = value
    return value


def _home(name: str) -> str:
    """Return the module of a formula.

    Raises:
        MissingLibraryError: If it is one on tensors, and torch is not installed.
    """
    try:
        import_module("torch")
    except ImportError as error:
        if name not in PLAIN:
            raise MissingLibraryError("torch", "live", f"kernels.{name}") from error
        return "arrays"
    return "tensors"


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
