"""Checks of untrusted numbers and names in files.

Headers and pickles come from strangers: every size, offset and name in them is a claim. Readers
that parse bytes themselves check claims here, in Python integers that cannot overflow, so that a
wrong one ends in one `FormatError` and never in an allocation or a crash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from accweight_core.errors import FormatError, MissingLibraryError, UnsupportedDtypeError, reason_of
from accweight_core.schema import HiddenValues, StoredTensor

MAX_AXES = 64
"""NumPy's maximum rank."""

MAX_NAME = 1000
"""Most characters of a tensor's name; real ones have fewer than 200."""

MAX_SIZE = 2**62
"""Limit for axes, products of axes, strides and offsets, far above those of real files."""

STEP_KEYS = (
    "global_step",
    "step",
    "iteration",
    "iter",
    "n_iter",
    "trained_steps",
    "ss_steps",
    "epoch",
    "current_epoch",
    "ss_epoch",
)
"""Keys of the step, finest first: one epoch may have several checkpoints."""


class ClaimError(ValueError):
    """Raised for a claim that cannot be true; the message follows the file's name."""


@contextmanager
def claims_of(path: Path, format_name: str) -> Iterator[None]:
    """Turn any exception of parsing `path` into one `FormatError` that names the file.

    A `MissingLibraryError` is passed on, because it is not the file's fault.

    This is the only place that catches everything: parsers of damaged files raise nearly anything.
    """
    try:
        yield
    except (FormatError, MissingLibraryError):
        raise
    except ClaimError as error:
        raise FormatError(path, str(error)) from error
    except OSError as error:
        raise FormatError(path, f"cannot be read: {reason_of(error)}") from error
    except Exception as error:
        reason = quoted(f"{type(error).__name__}: {error}", limit=160)
        problem = f"damaged, or not a {format_name} file: parsing it failed with {reason}"
        raise FormatError(path, problem) from error


def quoted(value: object, limit: int = 80) -> str:
    """Return `value` for a message: one line of ASCII, strings shortened to about `limit`.

    Only strings and small numbers are shown: a container from a hostile file may have a few bytes
    in the file and gigabytes when printed.
    """
    if isinstance(value, str):
        return ascii(value if len(value) <= limit else value[:limit] + "...")
    if isinstance(value, (int, float)) and abs(value) < 2**128:
        return str(value)
    return f"<{type(value).__name__}>"


def quoted_few(names: Sequence[str]) -> str:
    """Return the first three names for a message, and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(quoted, names[:3])) + more


def checked_name(name: str) -> str:
    """Return `name` if it can be printed, stored and matched; else raise `ClaimError`."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise ClaimError(
            f"holds a tensor named {quoted(name)}; "
            f"expected 1 to {MAX_NAME} printable characters, got {len(name)}"
        )
    return name


def checked_text(raw: bytes) -> str:
    """Return a name as text; raise `ClaimError` if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ClaimError("holds a name that is not text; it is damaged") from None


def checked_size(value: object, what: str) -> int:
    """Return `value` if it is a plausible size, stride or offset; else raise `ClaimError`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_SIZE:
        raise ClaimError(f"claims {what} of {quoted(value)}; expected an integer from 0 to 2**62")
    return value


def checked_sizes(values: object, what: str) -> tuple[int, ...]:
    """Return `values` as a shape or strides; raise `ClaimError` if they are implausible."""
    if not isinstance(values, (tuple, list)) or len(values) > MAX_AXES:
        raise ClaimError(f"claims {what} that is not a list of at most {MAX_AXES} integers")
    for value in values:
        if type(value) is not int or not 0 <= value < MAX_SIZE:  # faster than a call for each
            checked_size(value, what)
    return tuple(values)


def check_reach(offset: int, count: int, size_bytes: int) -> None:
    """Raise `ClaimError` unless `count` bytes from `offset` lie within `size_bytes`."""
    if offset < 0 or count < 0 or offset + count > size_bytes:
        raise ClaimError(
            f"cut short or damaged: something in it should reach to byte {offset + count}, "
            f"it has {size_bytes}"
        )


def check_not_empty(size_bytes: int) -> None:
    """Raise `ClaimError` if a file is empty."""
    if not size_bytes:
        raise ClaimError("the file is empty (0 bytes); was the save interrupted?")


def checked_shape(values: object) -> tuple[int, ...]:
    """Return `values` as a shape; raise `ClaimError` if its elements exceed 62 bits."""
    shape = checked_sizes(values, "a shape")
    checked_size(math.prod(filter(None, shape) if 0 in shape else shape), "a number of elements")
    return shape


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of `shape`, in elements, in contiguous C order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def is_c_order(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Tell whether `strides` are C order for `shape`; axes of length 1 may have any stride."""
    if 0 in shape:
        return True
    pairs = zip(shape, strides, c_strides(shape), strict=True)
    return all(size == 1 or stride == expected for size, stride, expected in pairs)


def reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return the number of stored elements from the first to the last one used, inclusive."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def refused(name: str, dtype: str, shape: tuple[int, ...], reason: str) -> StoredTensor:
    """Return a tensor that is listed, but cannot be analysed."""
    values = HiddenValues(partial(_refuse, name, reason), dtype, shape)
    return StoredTensor(name, values, refusal=reason)


def _refuse(name: str, reason: str) -> NoReturn:
    raise UnsupportedDtypeError(f"tensor {quoted(name)} cannot be analysed: {reason}")


def step_among(entries: Mapping[str, object]) -> tuple[int, str] | None:
    """Return the step next to the weights and its key, finest first.

    Integral floats count; booleans, tensors and strings do not.
    """
    for key in STEP_KEYS:
        value = entries.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_SIZE:
            return value, key
    return None
