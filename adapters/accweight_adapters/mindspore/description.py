"""Describe MindSpore checkpoints: a protobuf message of named tensors (checkpoint.proto).

A tensor may be cut into several entries of the same name, because a message has less than 2 GB. The
state of the optimizer lies among the weights, by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.protobuf import LENGTH, fields, signed, values
from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.varint import varint
from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.measures import measures_in
from accweight_adapters.untrusted import (
    MAX_NAME,
    ClaimError,
    check_not_empty,
    checked_name,
    checked_shape,
    checked_text,
    claims_of,
    quoted,
    quoted_few,
    refused,
    step_among,
)
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, HiddenValues, Hints, Role, StoredTensor

FORMAT: Final = "MindSpore checkpoint"
VALUE, TAG, TENSOR = 1, 1, 2
DIMS, TYPE, CONTENT = 1, 2, 3
CHECKSUM: Final = b"crc_num"
"""What stands before the checksum that newer versions append."""

MOST_TENSORS: Final = 1 << 20
MOST_DIMS_BYTES: Final = 1 << 10

TYPES: Final = {
    "Float64": "float64", "Float32": "float32", "Float16": "float16", "BFloat16": "bfloat16",
    "Int64": "int64", "Int32": "int32", "Int16": "int16", "Int8": "int8", "UInt64": "uint64",
    "UInt32": "uint32", "UInt16": "uint16", "UInt8": "uint8", "Bool": "bool",
}  # fmt: skip
"""Names of element types, by MindSpore's."""

CLOCKS: Final = {"step_num": "step", "epoch_num": "epoch", "global_step": "global_step"}
FIGURES: Final = ("learning_rate", "loss")
STATE: Final = frozenset(
    {"beta1_power", "beta2_power", "momentum", "scale_sense", "loss_scale", "current_iterator_step",
     "last_overflow_iterator_step", "append_dict", "assist_step", "vocab_size"}
)  # fmt: skip
"""Names of single numbers that belong to training."""

STATISTICS: Final = ("moving_mean", "moving_variance")


def recognised(path: Path) -> bool:
    """Tell whether `path` is a message whose first entry is a named tensor."""
    try:
        with path.open("rb") as file:
            window = FileWindow(file)
            first = next(fields(window, 0, window.size_bytes))
            if first.number != VALUE or first.wire != LENGTH:
                return False
            parts = {part.number: part for part in fields(window, first.body, first.stop)}
            name = _text(window, parts[TAG].body, parts[TAG].stop)
            inside = {p.number: p for p in fields(window, parts[TENSOR].body, parts[TENSOR].stop)}
            kind = _text(window, inside[TYPE].body, inside[TYPE].stop)
            return name.isprintable() and kind in TYPES
    except Exception:  # damaged or other messages raise nearly anything
        return False


def described(path: Path) -> Description:
    """Describe the parameters in `path`, in the order in which they were saved.

    Raises:
        FormatError: If the file is damaged or inconsistent.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        check_not_empty(path.stat().st_size)
        return _described(path, file)


@dataclass(slots=True)
class Parameter:
    """One parameter: type, shape, and the pieces of its content in order."""

    kind: str
    shape: tuple[int, ...]
    pieces: list[Stretch] = field(default_factory=list)

    @property
    def dtype(self) -> str:
        """Name of the element type, '' if it is not a number."""
        return TYPES.get(self.kind, "")


def _described(path: Path, file: IO[bytes]) -> Description:
    window = FileWindow(file)
    found = _parameters(window)
    numbers = {n: p for n, p in found.items() if math.prod(p.shape) == 1 and p.dtype}
    clocks = {CLOCKS[name]: _number(file, p) for name, p in numbers.items() if name in CLOCKS}
    figures = {name: _number(file, p) for name, p in numbers.items() if name in FIGURES}
    words = [name for name, parameter in found.items() if not parameter.dtype]
    beside = {*words, *figures, *(name for name in numbers if name in CLOCKS)}
    kept = {name: p for name, p in found.items() if name not in beside}
    if not kept:
        raise ClaimError("holds no parameters")
    step, key = step_among(clocks) or (None, "")
    notes = [f"left out {quoted_few(words)}: not numbers"] if words else []
    return Description(
        format=FORMAT,
        tensors=tuple(_stored(path, name, parameter) for name, parameter in kept.items()),
        step=step,
        step_key=next((name for name, plain in CLOCKS.items() if plain == key), ""),
        files=(str(path),),
        notes=tuple(notes),
        measures=measures_in(figures),
    )


def _parameters(window: FileWindow) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, one in _entries(window):
        known = found.setdefault(name, one)
        if known is not one:
            if (known.kind, known.shape) != (one.kind, one.shape):
                raise ClaimError(f"holds two parameters that are called {quoted(name)}")
            known.pieces += one.pieces
        if len(found) > MOST_TENSORS:
            raise ClaimError(f"claims more than {MOST_TENSORS} parameters")
    for name, parameter in found.items():
        size = sum(piece.size_bytes for piece in parameter.pieces)
        if parameter.dtype and parameter.shape == (0,) and size:
            parameter.shape = ()  # single numbers have one axis of length 0
        needed = math.prod(parameter.shape) * DTYPES[parameter.dtype or "uint8"].size_bytes
        if parameter.dtype and size != needed:
            raise ClaimError(
                f"parameter {quoted(name)} of shape {parameter.shape} and type {parameter.kind} "
                f"needs {needed} bytes, it has {size}"
            )
    return found


def _entries(window: FileWindow) -> list[tuple[str, Parameter]]:
    end = window.size_bytes
    for tail in range(len(CHECKSUM) + 1, min(end, 32) + 1):
        if window.read(end - tail, len(CHECKSUM)) == CHECKSUM:
            end -= tail
            break
    found = []
    for entry in fields(window, 0, end):
        if entry.number != VALUE or entry.wire != LENGTH:
            raise ClaimError(f"has a field {entry.number}, which no checkpoint has")
        parts = {part.number: part for part in fields(window, entry.body, entry.stop)}
        if TAG not in parts:
            raise ClaimError("has an entry without a name; it is damaged")
        name = _text(window, parts[TAG].body, parts[TAG].stop)
        if TENSOR not in parts:
            raise ClaimError(f"entry {quoted(name)} is a hash map, which is not read")
        tensor = parts[TENSOR]
        found.append((checked_name(name), _tensor(window, tensor.body, tensor.stop)))
    return found


def _tensor(window: FileWindow, start: int, stop: int) -> Parameter:
    sizes: list[int] = []
    kind, pieces = "", []
    for part in fields(window, start, stop):
        if part.number == DIMS and part.wire == LENGTH:
            sizes += _packed(window, part.body, part.stop)
        elif part.number == DIMS:
            ((_, value),) = values(window.read(part.start, part.stop - part.start))
            sizes.append(signed(value))
        elif part.number == TYPE:
            kind = _text(window, part.body, part.stop)
        elif part.number == CONTENT and part.wire == LENGTH:
            pieces.append(Stretch(part.body, part.stop - part.body))
    return Parameter(kind, checked_shape(sizes), pieces)


def _packed(window: FileWindow, start: int, stop: int) -> list[int]:
    if stop - start > MOST_DIMS_BYTES:
        raise ClaimError("has a tensor with too many axes; it is damaged")
    content, place, sizes = window.read(start, stop - start), 0, []
    while place < len(content):
        value, place = varint(content, place, len(content))
        sizes.append(signed(value))
    return sizes


def _text(window: FileWindow, start: int, stop: int) -> str:
    if stop - start > 4 * MAX_NAME:
        raise ClaimError(f"has a name of {stop - start} bytes; it is damaged")
    return checked_text(window.read(start, stop - start))


# ---------------------------------------------------------------- values


def _stored(path: Path, name: str, parameter: Parameter) -> StoredTensor:
    is_statistic = name.rpartition(".")[2] in STATISTICS
    role = Role.OPTIMIZER if name in STATE else Role.BUFFER if is_statistic else None
    hints = Hints(role=role)
    if len(parameter.pieces) == 1:
        place = parameter.pieces[0].offset
        return StoredTensor(name, Extent(str(path), place, parameter.dtype, parameter.shape), hints)
    if not parameter.pieces:
        return refused(name, parameter.dtype, parameter.shape, "it has no content")
    load = partial(_assembled, path, name, parameter)
    return StoredTensor(name, HiddenValues(load, parameter.dtype, parameter.shape), hints)


def _assembled(path: Path, name: str, parameter: Parameter) -> npt.NDArray[Any]:
    """Return a parameter put together from its pieces: its elements, or their codes.

    Raises:
        FormatError: If the file has become shorter since it was described.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        whole = b"".join(p.read(file, f"parameter {quoted(name)}") for p in parameter.pieces)
    return np.frombuffer(whole, DTYPES[parameter.dtype].code).reshape(parameter.shape)


def _number(file: IO[bytes], parameter: Parameter) -> Any:
    """Return the value of a single number, or None if NumPy lacks its type."""
    if parameter.dtype == "bfloat16" or len(parameter.pieces) != 1:
        return None
    raw = parameter.pieces[0].read(file, "a number")
    value: Mapping[str, Any] | int | float = np.frombuffer(raw, parameter.dtype).item()
    return value
