"""Parse ONNX Runtime training checkpoints, as `CheckpointState.save_checkpoint` writes them.

The file is a FlatBuffer with the schema `ort_training_checkpoint.fbs`: trained parameters, frozen
parameters, optimizer states, and a table of named numbers. Values are in the file itself; beyond
the size of a FlatBuffer (about 1.8 GB), large ones are in a second file with the suffix `.data`.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from accweight_adapters.ort.flatbuffer import Buffer, Table
from accweight_adapters.untrusted import (
    MAX_AXES,
    ClaimError,
    checked_name,
    checked_shape,
    quoted,
    refused,
)
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Extent, StoredTensor

IDENTIFIER: Final = b"ODTC"
EXTERNAL_SUFFIX: Final = ".data"
NOT_EXTERNAL: Final = -1

DTYPE_NAMES: Final[Mapping[int, str]] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
}
"""Element types by their number in the schema."""

MAX_PROPERTIES: Final = 1 << 12
"""Most named numbers that are read; real checkpoints have a few."""

CHECKPOINT_MODULE, CHECKPOINT_OPTIMIZERS, CHECKPOINT_PROPERTIES = 1, 2, 3
MODULE_TRAINED, MODULE_FROZEN, MODULE_IS_NOMINAL = 0, 1, 2
GROUP_STEP, GROUP_STATES = 1, 3
BAG_INTEGERS, BAG_FLOATS = 0, 1
PROPERTY_NAME, PROPERTY_VALUE = 0, 1
TENSOR_NAME, TENSOR_DIMS, TENSOR_TYPE, TENSOR_RAW, TENSOR_EXTERNAL = 0, 2, 3, 4, 6
"""Field numbers of the schema's tables."""


@dataclass(slots=True)
class Checkpoint:
    """The contents of one checkpoint.

    Attributes:
        tensors: All parameters, trained and frozen, by name.
        frozen: Names of the frozen ones.
        properties: The user's named numbers.
        updates: Number of optimizer updates; None without an optimizer state.
        files: The file, and its file of external data, if any.
    """

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    properties: dict[str, int | float] = field(default_factory=dict)
    updates: int | None = None
    files: list[Path] = field(default_factory=list)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the contents of the checkpoint at `path`, without values.

    Raises:
        ClaimError: If the file is damaged, or has no values.
    """
    with path.open("rb") as file:
        buffer = Buffer(file)
        if buffer.identifier != IDENTIFIER:
            raise ClaimError("not a checkpoint of ONNX Runtime training: it begins otherwise")
        root = buffer.root
        module = root.table(CHECKPOINT_MODULE)
        if module is None:
            raise ClaimError("holds no parameters, only the state of an optimizer or nothing")
        if module.integer(MODULE_IS_NOMINAL, "B"):
            raise ClaimError(
                "a nominal checkpoint: it names parameters but holds no values; "
                "use the full one that was written beside it"
            )
        values = _Values(path, buffer)
        checkpoint = Checkpoint(files=[path])
        for number in (MODULE_TRAINED, MODULE_FROZEN):
            for tensor in _tensors(module, number, values):
                if tensor.name in checkpoint.tensors:
                    raise ClaimError(f"holds two tensors called {quoted(tensor.name)}")
                checkpoint.tensors[tensor.name] = tensor
                if number == MODULE_FROZEN:
                    checkpoint.frozen.append(tensor.name)
        checkpoint.files += values.external
        checkpoint.properties = _properties(root.table(CHECKPOINT_PROPERTIES))
        checkpoint.updates = _updates(root)
    if not checkpoint.tensors:
        raise ClaimError("holds no parameters")
    return checkpoint


class _Values:
    """Locations of values: in the file, or in its file of external data."""

    def __init__(self, path: Path, buffer: Buffer) -> None:
        self.path = path
        self.external: list[Path] = []
        self._buffer = buffer
        self._external_bytes = 0

    def place(self, table: Table, needed: int, name: str) -> tuple[Path, int]:
        """Return the file and the offset of `needed` bytes of values."""
        offset = table.integer(TENSOR_EXTERNAL, "q", NOT_EXTERNAL)
        if offset != NOT_EXTERNAL:
            return self._beside(offset, needed, name)
        raw = table.vector(TENSOR_RAW, 1)
        held = raw.length if raw is not None else 0
        if held != needed:
            raise ClaimError(
                f"tensor {quoted(name)} needs {needed} bytes for its shape, it has {held}; "
                "the file is damaged"
            )
        return self.path, raw.place if raw is not None else 0

    def _beside(self, offset: int, needed: int, name: str) -> tuple[Path, int]:
        beside = self.path.with_name(self.path.name + EXTERNAL_SUFFIX)
        if not self.external:
            self.external.append(beside)
            self._external_bytes = _size_of(beside)
        if offset < 0 or offset + needed > self._external_bytes:
            raise ClaimError(
                f"tensor {quoted(name)} should reach to byte {offset + needed} of {beside.name}, "
                f"which has {self._external_bytes}; copy that file again"
            )
        return beside, offset


def _size_of(beside: Path) -> int:
    """Return the size of the file of external data, which must be a regular file."""
    try:
        state = beside.stat()
    except OSError as error:
        raise ClaimError(
            f"its values lie in {beside.name} beside it, which cannot be read "
            f"({error.strerror}); keep both files together, under these names"
        ) from None
    if not stat.S_ISREG(state.st_mode):
        raise ClaimError(
            f"its values should lie in {beside.name} beside it, which is not a plain file"
        )
    return state.st_size


def _tensors(module: Table, number: int, values: _Values) -> Iterator[StoredTensor]:
    for table in module.tables(number):
        yield _tensor(table, values)


def _tensor(table: Table, values: _Values) -> StoredTensor:
    name = checked_name(table.text(TENSOR_NAME))
    shape = _shape(table, values)
    code = table.integer(TENSOR_TYPE, "i")
    dtype = DTYPE_NAMES.get(code)
    if dtype is None:
        reason = f"its element type has the number {code}, which is not a numeric type"
        return refused(name, f"type_{code}", shape, reason)
    needed = math.prod(shape) * DTYPES[dtype].size_bytes
    path, offset = values.place(table, needed, name)
    return StoredTensor(name, Extent(str(path), offset, dtype, shape))


def _shape(table: Table, values: _Values) -> tuple[int, ...]:
    dims = table.vector(TENSOR_DIMS, 8)
    if dims is None:
        return ()
    if dims.length > MAX_AXES:
        raise ClaimError(f"claims a tensor with {dims.length} axes; it is damaged")
    return checked_shape(
        [dims.buffer.integer(dims.place + 8 * axis, "q") for axis in range(dims.length)]
    )


def _properties(bag: Table | None) -> dict[str, int | float]:
    """Return the numbers among the properties; strings are ignored."""
    found: dict[str, int | float] = {}
    if bag is None:
        return found
    for entry in islice(bag.tables(BAG_INTEGERS), MAX_PROPERTIES):
        found.setdefault(entry.text(PROPERTY_NAME), entry.integer(PROPERTY_VALUE, "q"))
    for entry in islice(bag.tables(BAG_FLOATS), MAX_PROPERTIES):
        found.setdefault(entry.text(PROPERTY_NAME), entry.float32(PROPERTY_VALUE))
    return found


def _updates(root: Table) -> int | None:
    """Return the update count in the optimizer state."""
    for group in root.tables(CHECKPOINT_OPTIMIZERS):
        if group.field(GROUP_STATES) is not None or group.field(GROUP_STEP) is not None:
            return group.integer(GROUP_STEP, "q")
    return None
