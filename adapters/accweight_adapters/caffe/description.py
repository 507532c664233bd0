"""Describe Caffe models: the blobs of every layer of a NetParameter (caffe.proto).

Layers are fields 100, in files before 2015 fields 2 with numbers for types, in the first ones
nested once more. A blob is a packed list of floats, a byte range of the file; the type of the layer
tells what its blobs are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from accweight_adapters.bytes.protobuf import LENGTH, VARINT, Field, fields, signed, values
from accweight_adapters.bytes.varint import varint
from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.untrusted import (
    MAX_NAME,
    ClaimError,
    check_not_empty,
    checked_name,
    checked_shape,
    checked_text,
    claims_of,
    quoted,
    refused,
)
from accweight_core.schema import Axis, Description, Extent, Hints, Kind, Role, StoredTensor

FORMAT: Final = "Caffe model"
LAYER, OLD_LAYER = 100, 2
HEADS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, LAYER})
"""Numbers of the fields of a network."""

LOOKED_AT: Final = 64
"""Most fields that `recognised` reads before a layer."""

MOST_LAYERS: Final = 100_000
FLOATS, DOUBLES = 5, 8
LEGACY_AXES: Final = (1, 2, 3, 4)
SHAPE: Final = 7
MOST_SHAPE_BYTES: Final = 1 << 10

OLD_TYPES: Final = {
    4: "Convolution", 14: "InnerProduct", 39: "Deconvolution", 5: "Data", 17: "Pooling",
    18: "ReLU", 20: "Softmax", 21: "SoftmaxWithLoss", 6: "Dropout", 15: "LRN",
}  # fmt: skip
"""Names of layer types, by their number in old files."""

BLOBS: Final = {
    "BatchNorm": ("running_mean", "running_var", "scale_factor"),
    "LSTM": ("weight_ih", "bias", "weight_hh"),
    "RNN": ("weight_ih", "bias", "weight_hh", "weight_ho", "bias_o"),
    "PReLU": ("slope",),
    "Normalize": ("scale",),
}
"""Names of the blobs by layer type; `weight` and `bias` for the others."""

KINDS: Final = {
    "Convolution": Kind.CONV, "Deconvolution": Kind.CONV_TRANSPOSE, "InnerProduct": Kind.LINEAR,
    "BatchNorm": Kind.NORM, "Scale": Kind.NORM, "Bias": Kind.OTHER, "Embed": Kind.EMBEDDING,
    "LSTM": Kind.LSTM, "RNN": Kind.RNN, "PReLU": Kind.OTHER, "Normalize": Kind.NORM,
}  # fmt: skip
GATES: Final = ("i", "f", "o", "g")
"""Order in which Caffe stacks the gates of an LSTM."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Field numbers of a layer: name, type, blobs."""

    name: int
    kind: int
    blobs: int


NEW, OLD, OLDEST = _Dialect(1, 2, 7), _Dialect(4, 5, 6), _Dialect(1, 2, 50)


@dataclass(slots=True)
class _Blob:
    """One blob: its shape, the type and range of its values, and why it cannot be analysed."""

    shape: tuple[int, ...]
    dtype: str
    ranges: list[tuple[int, int]] = field(default_factory=list)
    problem: str = ""


def recognised(path: Path) -> bool:
    """Tell whether `path` is a message with layers that have a name and a type."""
    try:
        with path.open("rb") as file:
            window = FileWindow(file)
            for number, entry in enumerate(fields(window, 0, window.size_bytes)):
                if entry.number not in HEADS or number > LOOKED_AT:
                    return False
                if entry.number in (LAYER, OLD_LAYER):
                    name, kind, _ = _layer(window, entry)
                    return bool(name) and name.isprintable() and kind.isidentifier()
            return False
    except Exception:  # other files raise nearly anything
        return False


def described(path: Path) -> Description:
    """Describe the blobs in `path`, in network order.

    Raises:
        FormatError: If the file is damaged or inconsistent, or holds a network without weights.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        check_not_empty(path.stat().st_size)
        return _described(path, file)


def _described(path: Path, file: IO[bytes]) -> Description:
    window = FileWindow(file)
    tensors: list[StoredTensor] = []
    names: set[str] = set()
    layers = 0
    for entry in fields(window, 0, window.size_bytes):
        if entry.number not in HEADS:
            raise ClaimError(f"not a network of Caffe: it has a field {entry.number}")
        if entry.number not in (LAYER, OLD_LAYER):
            continue
        layers += 1
        if layers > MOST_LAYERS:
            raise ClaimError(f"claims more than {MOST_LAYERS} layers")
        for tensor in _tensors(path, window, entry):
            if tensor.name in names:
                raise ClaimError(f"holds two blobs that are called {quoted(tensor.name)}")
            names.add(tensor.name)
            tensors.append(tensor)
    if not tensors:
        raise ClaimError(f"holds {layers} layers without weights; is it only the definition?")
    return Description(FORMAT, tuple(tensors), files=(str(path),))


def _layer(window: FileWindow, entry: Field) -> tuple[str, str, list[Field]]:
    """Return the name, the type and the blobs of a layer."""
    if entry.wire != LENGTH:
        raise ClaimError("has a layer that is not a message; it is damaged")
    parts = list(fields(window, entry.body, entry.stop))
    dialect = NEW if entry.number == LAYER else OLD
    nested = [part for part in parts if part.number == 1 and part.wire == LENGTH]
    if dialect is OLD and nested:
        dialect = OLDEST
        parts = list(fields(window, nested[0].body, nested[0].stop))
    name = kind = ""
    for part in parts:
        if part.number == dialect.name and part.wire == LENGTH:
            name = _text(window, part)
        elif part.number == dialect.kind and part.wire == LENGTH:
            kind = _text(window, part)
        elif part.number == dialect.kind and part.wire == VARINT:
            number = _number(window, part)
            kind = OLD_TYPES.get(number, f"type_{number}")
    return name, _plain_type(kind), [part for part in parts if part.number == dialect.blobs]


def _plain_type(kind: str) -> str:
    """Return the name of a type in newer files; the first ones had `conv`, `innerproduct`."""
    oldest = {"conv": "Convolution", "innerproduct": "InnerProduct", "deconv": "Deconvolution"}
    return oldest.get(kind, kind)


def _text(window: FileWindow, part: Field) -> str:
    if part.stop - part.body > 4 * MAX_NAME:
        raise ClaimError(f"has a name of {part.stop - part.body} bytes; it is damaged")
    return checked_text(window.read(part.body, part.stop - part.body))


def _number(window: FileWindow, part: Field) -> int:
    ((_, value),) = values(window.read(part.start, part.stop - part.start))
    return signed(value)


def _tensors(path: Path, window: FileWindow, entry: Field) -> list[StoredTensor]:
    name, kind, found = _layer(window, entry)
    leaves = BLOBS.get(kind, ("weight", "bias"))
    tensors = []
    for number, part in enumerate(found):
        blob = _blob(window, part)
        leaf = leaves[number] if number < len(leaves) else f"blob_{number}"
        shape = _without_padding(blob.shape, kind, leaf)
        full = checked_name(f"{name}.{leaf}".replace("/", "."))
        hints = _hints(kind, leaf, shape)
        if blob.problem:
            kept = refused(full, blob.dtype, shape, blob.problem)
            tensors.append(StoredTensor(full, kept.values, hints, blob.problem))
        else:
            place = blob.ranges[0][0] if blob.ranges else part.body
            tensors.append(StoredTensor(full, Extent(str(path), place, blob.dtype, shape), hints))
    return tensors


def _blob(window: FileWindow, entry: Field) -> _Blob:
    if entry.wire != LENGTH:
        raise ClaimError("has a blob that is not a message; it is damaged")
    legacy = dict.fromkeys(LEGACY_AXES, 0)
    shape: tuple[int, ...] | None = None
    ranges: dict[int, list[tuple[int, int]]] = {FLOATS: [], DOUBLES: []}
    single = False
    for part in fields(window, entry.body, entry.stop):
        if part.number in legacy and part.wire == VARINT:
            legacy[part.number] = _number(window, part)
        elif part.number == SHAPE and part.wire == LENGTH:
            shape = _shape(window, part)
        elif part.number in ranges:
            single = single or part.wire != LENGTH
            ranges[part.number].append((part.body, part.stop))
    is_double = bool(ranges[DOUBLES])
    dtype, spans = ("float64", ranges[DOUBLES]) if is_double else ("float32", ranges[FLOATS])
    if shape is None:
        shape = (
            checked_shape([legacy[axis] for axis in LEGACY_AXES]) if any(legacy.values()) else ()
        )
    blob = _Blob(shape, dtype, spans)
    needed = math.prod(shape) * (8 if is_double else 4)
    size = sum(stop - start for start, stop in spans)
    if size != needed and (spans or shape):
        raise ClaimError(f"a blob of shape {shape} needs {needed} bytes, it has {size}")
    if single or len(spans) > 1:
        blob.problem = "its values are not in one piece; write the model again with Caffe"
    elif not spans:
        blob.problem = "it has no values"
    return blob


def _shape(window: FileWindow, part: Field) -> tuple[int, ...]:
    sizes = []
    for dim in fields(window, part.body, part.stop):
        if dim.wire == LENGTH and dim.stop - dim.body <= MOST_SHAPE_BYTES:
            content, place = window.read(dim.body, dim.stop - dim.body), 0
            while place < len(content):
                value, place = varint(content, place, len(content))
                sizes.append(signed(value))
        elif dim.wire == VARINT:
            sizes.append(_number(window, dim))
    return checked_shape(sizes)


def _without_padding(shape: tuple[int, ...], kind: str, leaf: str) -> tuple[int, ...]:
    """Return a shape without the axes of length 1 that old files put before it."""
    if len(shape) != len(LEGACY_AXES):
        return shape
    rank = 1 if leaf != "weight" or kind in ("Scale", "BatchNorm") else 4
    rank = 2 if kind in ("InnerProduct", "Embed") and leaf == "weight" else rank
    return shape[-rank:] if set(shape[:-rank]) <= {1} else shape


def _hints(kind: str, leaf: str, shape: Sequence[int]) -> Hints:
    known = KINDS.get(kind)
    if kind == "BatchNorm":
        return Hints(kind=known, role=Role.BUFFER)
    if kind in ("Scale", "Normalize"):
        return Hints(kind=known, role=Role.NORM)
    if leaf == "bias" or leaf == "bias_o":
        return Hints(kind=known, role=Role.BIAS)
    if kind == "Embed":
        return Hints(kind=known, role=Role.EMBEDDING, axes=(Axis.OUTPUT, Axis.INPUT))
    even = kind == "LSTM" and len(shape) == 2 and shape[0] % len(GATES) == 0
    return Hints(kind=known, role=Role.WEIGHT, sections=GATES if even else None)
