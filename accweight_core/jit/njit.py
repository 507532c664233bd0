"""How loops are compiled: once per machine, kept in a cache on disk, free of the interpreter.

Numba keeps what it has compiled until the file of the outermost loop changes, and loops here are
made of several files. So the cache is a folder named by the contents of all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba

_config: Any = numba.config  # its settings are made when it is imported

LOOPS = (
    "jit/njit", "jit/order", "jit/simd", "jit/step_loops", "jit/pooling", "accumulate/streaming",
)  # fmt: skip
"""Modules whose loops and intrinsics are compiled into each other."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop, with sums in the order in which they are written."""
    return _kept(function, {})


def compiled_in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop into each loop that calls it: handing over ten arrays takes its time."""
    return _kept(function, {"forceinline": True})


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    options = {"nogil": True, "error_model": "numpy", **options}
    folder = cache_folder()
    if folder is not None:
        with suppress(RuntimeError), _cached_in(folder):  # which may not be written to after all
            return cast(Callable[..., Any], numba.njit(cache=True, **options)(function))
    return cast(Callable[..., Any], numba.njit(**options)(function))


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
    if _config.CACHE_DIR:
        return Path(_config.CACHE_DIR) / name
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
