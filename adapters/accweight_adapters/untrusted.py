"""What a file claims about its tensors, checked before anything believes it.

Headers and pickles come from strangers: every size, offset and name in them is a claim. The
readers that parse bytes themselves check claims here, in plain integers that cannot overflow,
so that a lie ends in one `FormatError` and never in an allocation or a crash.
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
"""As many axes as NumPy can hold."""

MAX_NAME = 1000
"""Characters in a tensor's name; real ones stay below 200."""

MAX_SIZE = 2**62
"""No axis, product of axes, stride or offset of a real file comes near it."""

STEP_KEYS = (
    "global_step",
    "step",
    "iteration",
    "iter",
    "n_iter",
    "trained_steps",
    "epoch",
    "current_epoch",
)
"""Where files keep their step, finest clock first: an epoch may span several checkpoints."""


class ClaimError(ValueError):
    """A claim that cannot be true; its text goes behind the file's name."""


@contextmanager
def claims_of(path: Path, format_name: str) -> Iterator[None]:
    """Turn whatever parsing `path` raises into one `FormatError` that names the file.

    A library that is missing is no fault of the file.

    The one place where that happens: parsers of damaged files raise nearly anything.
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
    """Return `value` for a message: one line of ASCII, text shortened to about `limit`.

    Only text and small numbers are shown: a container from a hostile file may be a few bytes
    there and gigabytes when printed.
    """
    if isinstance(value, str):
        return ascii(value if len(value) <= limit else value[:limit] + "...")
    if isinstance(value, (int, float)) and abs(value) < 2**128:
        return str(value)
    return f"<{type(value).__name__}>"


def quoted_few(names: Sequence[str]) -> str:
    """Return the first three of many names for a message, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(quoted, names[:3])) + more


def checked_name(name: str) -> str:
    """Return `name` if it can be shown, stored and matched; raise `ClaimError` if not."""
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise ClaimError(
            f"holds a tensor named {quoted(name)}; "
            f"expected 1 to {MAX_NAME} printable characters, got {len(name)}"
        )
    return name


def checked_text(raw: bytes) -> str:
    """Return the text of a name; raise `ClaimError` if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ClaimError("holds a name that is not text; it is damaged") from None


def checked_size(value: object, what: str) -> int:
    """Return `value` if it is a plausible size, stride or offset; raise `ClaimError` if not."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_SIZE:
        raise ClaimError(f"claims {what} of {quoted(value)}; expected an integer from 0 to 2**62")
    return value


def checked_sizes(values: object, what: str) -> tuple[int, ...]:
    """Return `values` as a shape or as strides; raise `ClaimError` if they cannot be that."""
    if not isinstance(values, (tuple, list)) or len(values) > MAX_AXES:
        raise ClaimError(f"claims {what} that is not a list of at most {MAX_AXES} integers")
    for value in values:
        if type(value) is not int or not 0 <= value < MAX_SIZE:  # a call for each would take longer
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
    """Raise `ClaimError` if a file has no bytes at all."""
    if not size_bytes:
        raise ClaimError("the file is empty (0 bytes); was the save interrupted?")


def checked_shape(values: object) -> tuple[int, ...]:
    """Return `values` as a shape whose element count fits 62 bits; raise `ClaimError` if not."""
    shape = checked_sizes(values, "a shape")
    checked_size(math.prod(filter(None, shape) if 0 in shape else shape), "a number of elements")
    return shape


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides, in elements, of `shape` in C order without gaps."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def is_c_order(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Tell whether `strides` walk `shape` in C order; axes of length 1 are never stepped."""
    if 0 in shape:
        return True
    pairs = zip(shape, strides, c_strides(shape), strict=True)
    return all(size == 1 or stride == expected for size, stride, expected in pairs)


def reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many stored elements lie from the first to the last one used, inclusive."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def refused(name: str, dtype: str, shape: tuple[int, ...], reason: str) -> StoredTensor:
    """Return a tensor that is listed, but whose values cannot be analysed."""
    values = HiddenValues(partial(_refuse, name, reason), dtype, shape)
    return StoredTensor(name, values, refusal=reason)


def _refuse(name: str, reason: str) -> NoReturn:
    raise UnsupportedDtypeError(f"tensor {quoted(name)} cannot be analysed: {reason}")


def step_among(entries: Mapping[str, object]) -> tuple[int, str] | None:
    """Return the step kept beside the weights and its key, the finest clock first.

    Integral floats count; booleans, tensors and text do not.
    """
    for key in STEP_KEYS:
        value = entries.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_SIZE:
            return value, key
    return None
