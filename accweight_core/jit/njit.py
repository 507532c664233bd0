"""Compile loops with numba, once per machine: cached on disk, and without the interpreter lock.

Numba invalidates its cache when the file of the outermost function changes, but these loops span
several files. So the cache folder is named after a hash of all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numba

_config: Any = numba.config  # numba reads its settings on import

_FOLDER_GIVEN: str = _config.CACHE_DIR
"""Value of ``NUMBA_CACHE_DIR``, which is changed below for a moment."""

_changing = Lock()
"""Held meanwhile: put back by another thread, the cache would lie in the working directory."""

LOOPS = (
    "jit/njit", "jit/operands", "jit/order", "jit/simd", "jit/step_loops", "jit/pooling",
    "jit/kernel_pooling", "jit/halving", "jit/stream_loops",
)  # fmt: skip
"""Modules whose functions are compiled into each other."""

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
"""No interpreter lock, no ZeroDivisionError, and no wrapper for calls from C."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop that Python calls; sums keep the order in which they are written.

    The result is cached on disk if possible; a full disk costs only time.
    """
    folder, loop = cache_folder(), None
    if folder is not None:
        with suppress(RuntimeError), _cached_in(folder):  # the folder may not be writable
            loop = _njit(function, cache=True)
    if loop is None:
        return _njit(function)

    @wraps(loop)
    def call(*arguments: Any) -> Any:
        try:
            return loop(*arguments)
        except OSError:  # compiled but not cached; loops raise no OSError themselves
            return loop(*arguments)

    return call


def compiled_within(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop into each loop that calls it, and cache it.

    Python cannot call it, which saves compiling a wrapper that unpacks Python arguments.
    """
    return _njit(function, no_cpython_wrapper=True)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Inline a loop where it is called, before compilation.

    For functions that are called once and call large loops: those are compiled again for every
    compiled function that contains them.
    """
    return _njit(function, inline="always")


def _njit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return cast(Callable[..., Any], numba.njit(**_OPTIONS, **options)(function))


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    """Make numba use a cache folder for functions compiled in this context only."""
    with _changing:
        before = _config.CACHE_DIR
        _config.CACHE_DIR = str(folder)
        try:
            yield
        finally:
            _config.CACHE_DIR = before


@cache
def cache_folder() -> Path | None:
    """Return the cache folder of the loops, or None if no folder is writable.

    It is below ``NUMBA_CACHE_DIR`` if that is set, else beside the source, else in the user's cache
    folder.
    """
    name = f"accweight-loops-{digest()}"
    if _FOLDER_GIVEN:
        return Path(_FOLDER_GIVEN) / name
    own = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for place in (Path(__file__).parent / "__pycache__", Path(own)):
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            return place / name
    return None


@cache
def digest() -> str:
    """Return a hash that identifies the source of the loops and the compiler."""
    found = hashlib.sha256()
    for name in LOOPS:
        found.update(Path(__file__).parents[1].joinpath(f"{name}.py").read_bytes())
    return found.hexdigest()[:16]
