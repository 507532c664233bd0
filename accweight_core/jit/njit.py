"""How loops are compiled: once per machine, kept in a cache on disk, free of the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba
from numba.core.registry import cpu_target

# Numba fills the tables that it types code by at the first call, which takes longer than many a
# small run; done here it is part of the import, and no block waits for it.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()


LOOPS = (
    "jit/njit",
    "jit/order",
    "jit/simd",
    "jit/step_loops",
    "jit/pooling",
    "accumulate/streaming",
)
"""Modules whose loops and intrinsics are compiled into each other."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop, with sums in the order in which they are written."""
    return _kept(function, {})


def compiled_in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop into each loop that calls it: handing over ten arrays takes its time."""
    return _kept(function, {"forceinline": True})


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        found: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep the cache
        return cast(Callable[..., Any], numba.njit(**options)(function))
    _mark(found, stamps())
    return found


def _mark(found: Any, marks: tuple[tuple[int, int], ...]) -> None:
    """Have what is kept of a loop thrown away when a file that it is made of has changed.

    Numba looks at the file of the outermost loop alone, which a newer version of this program
    may have left as it was.
    """
    with suppress(AttributeError):  # other versions of numba may keep it elsewhere
        kept = found._cache._cache_file
        kept._source_stamp = (*kept._source_stamp, *marks)


@cache
def stamps() -> tuple[tuple[int, int], ...]:
    """Return date and size of every file that loops are made of."""
    found = (Path(__file__).parents[1].joinpath(f"{name}.py").stat() for name in LOOPS)
    return tuple((state.st_mtime_ns, state.st_size) for state in found)
