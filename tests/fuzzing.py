"""Damaged copies of files, by a fixed seed, and what every reader must make of them.

A reader may refuse a damaged file with one line that names it, or describe it within its bounds;
nothing else may escape, and nothing that the file asks for may be run or allocated.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from accweight_core.dtypes import DTYPES
from accweight_core.errors import FormatError, UnsupportedDtypeError
from accweight_core.readers import Reader
from accweight_core.schema import Extent, HiddenValues, StoredTensor

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
"""Numbers that lengths, offsets and counts are overwritten with."""

LONGEST_MESSAGE = 900
"""Characters of a refusal, its path not counted; terminals and logs show as many."""


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies: cut, flipped, overwritten, with parts gone, doubled or in disorder."""
    chance = random.Random(seed)
    kinds: list[Callable[[bytearray, random.Random], None]] = [
        _cut,
        _flip,
        _overwrite_bytes,
        _overwrite_number,
        _remove,
        _double,
        _zero,
    ]
    for number in range(count):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 3))):
            if damaged:
                kinds[number % len(kinds)](damaged, chance)
        yield bytes(damaged)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def _flip(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _overwrite_bytes(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content))
    content[place : place + chance.randrange(1, 5)] = chance.randbytes(chance.randrange(1, 5))


def _overwrite_number(content: bytearray, chance: random.Random) -> None:
    code = chance.choice(("<B", "<H", "<I", "<Q", ">I", ">Q"))
    number = chance.choice(EXTREMES) % 2 ** (8 * struct.calcsize(code))
    place = chance.randrange(len(content))
    content[place : place + struct.calcsize(code)] = struct.pack(code, number)


def _remove(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content))
    del content[place : place + chance.randrange(1, 64)]


def _double(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content))
    content[place:place] = content[place : place + chance.randrange(1, 64)]


def _zero(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content))
    stop = min(len(content), place + chance.randrange(1, 64))
    content[place:stop] = bytes(stop - place)


def is_refused(reader: Reader, path: Path, *, names: str = "") -> bool:
    """Tell whether a reader refuses a file; fail unless it does so, or describes it, as it must.

    Args:
        reader: The reader.
        path: The file, damaged or beside something damaged.
        names: What a refusal must name; the file if empty.
    """
    reader.recognises(path)
    try:
        description = reader.describe(path)
    except FormatError as refusal:
        text = str(refusal)
        assert "\n" not in text
        assert (names or path.name) in text
        assert len(text) < LONGEST_MESSAGE + 2 * len(str(path))
        if _came_of_memory(refusal):
            pytest.fail(f"memory ran out, and that was taken for damage: {text}")
        return True
    assert len({tensor.name for tensor in description.tensors}) == len(description.tensors)
    for tensor in description.tensors:
        _check(tensor)
    return False


def _check(tensor: StoredTensor) -> None:
    """Fail unless an extent lies within its file, and hidden values load or are refused."""
    values, axes = tensor.values, tensor.hints.axes
    assert axes is None or len(axes) == len(values.shape)
    if isinstance(values, HiddenValues):
        with suppress(FormatError, UnsupportedDtypeError):
            assert tuple(values.load().shape) == values.shape
        return
    assert values.offset >= 0
    if values.elements:
        assert _end_of(values) <= Path(values.path).stat().st_size


def _end_of(extent: Extent) -> int:
    strides = extent.strides
    if strides is None:
        span = extent.elements
    else:
        span = 1 + sum((n - 1) * s for n, s in zip(extent.shape, strides, strict=True))
    assert math.prod(extent.shape) < 2**62
    return extent.offset + span * DTYPES[extent.dtype].size_bytes


def _came_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error was raised because an allocation failed."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
