"""How loops are compiled: once per machine, kept in a cache on disk, free of the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.registry import cpu_target

# Numba fills the tables that it types code by at the first call, which takes longer than many a
# small run; done here it is part of the import, and no block waits for it.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop, with sums in the order in which they are written.

    The cache looks at the file of the loop alone: remove ``__pycache__`` after a change to what
    it calls from elsewhere.
    """
    return _kept(function, {})


def compiled_in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop into each loop that calls it: handing over ten arrays takes its time."""
    return _kept(function, {"forceinline": True})


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        found: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep the cache
        found = numba.njit(**options)(function)
    return found
