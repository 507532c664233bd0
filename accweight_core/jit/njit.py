"""How loops are compiled: once per machine, kept in a cache on disk, free of the interpreter.

Numba keeps what it has compiled until the file of the outermost loop changes, and loops here are
made of several files. So the cache is a folder named by the contents of all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any, cast

import numba

_config: Any = numba.config  # its settings are made when it is imported

_FOLDER_GIVEN: str = _config.CACHE_DIR
"""What ``NUMBA_CACHE_DIR`` says, before it is changed here for a moment."""

LOOPS = (
    "jit/njit", "jit/operands", "jit/order", "jit/simd", "jit/step_loops", "jit/pooling",
    "jit/stream_loops",
)  # fmt: skip
"""Modules whose loops and intrinsics are compiled into each other."""

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
"""Threads work side by side, a division by 0 is none of Python's errors, and C calls no loop."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop for Python to call, with sums in the order in which they are written.

    What is compiled is kept on disk, if that can be done: a full disk costs the time only.
    """
    folder, loop = cache_folder(), None
    if folder is not None:
        with suppress(RuntimeError), _cached_in(folder):  # which may not be written to after all
            loop = _njit(function, cache=True)
    if loop is None:
        return _njit(function)

    @wraps(loop)
    def call(*arguments: Any) -> Any:
        try:
            return loop(*arguments)
        except OSError:  # it was compiled and could not be kept; no loop raises anything itself
            return loop(*arguments)

    return call


def compiled_within(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop into each loop that calls it, where it is kept.

    Python cannot call it, so that nothing has to be made that takes its arguments out of Python.
    """
    return _njit(function, no_cpython_wrapper=True)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Write a loop out where it is called, before anything is compiled.

    This is for what is called once and calls large loops: these are compiled anew for every
    compiled loop that they are part of.
    """
    return _njit(function, inline="always")


def _njit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return cast(Callable[..., Any], numba.njit(**_OPTIONS, **options)(function))


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    """Have loops that are made meanwhile kept in a folder, and no one else's."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _config.CACHE_DIR = before


@cache
def cache_folder() -> Path | None:
    """Return where loops are kept, None if there is no place.

    That is in the folder that ``NUMBA_CACHE_DIR`` names, or beside the loops, or in the user's
    cache where these may not be written to.
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
    """Return what tells the loops of this version from those of others."""
    found = hashlib.sha256()
    for name in LOOPS:
        found.update(Path(__file__).parents[1].joinpath(f"{name}.py").read_bytes())
    return found.hexdigest()[:16]
