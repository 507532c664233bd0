"""Files of frameworks that no longer install, written by hand from their specifications.

- MXNet: `NDArray::Save` in src/ndarray/ndarray.cc, with the headers of all four versions;
- Caffe: `NetParameter` in src/caffe/proto/caffe.proto, with the layers of all three versions;
- MindSpore: `Checkpoint` in mindspore/ccsrc/utils/checkpoint.proto;
- Darknet: `save_weights_upto` in src/parser.c, and its configurations.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = Mapping[str, npt.NDArray[Any]]

# ---------------------------------------------------------------- MXNet

MXNET_TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int64": 6}
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA


def write_mxnet(path: Path, weights: Weights, version: int = V2) -> Path:
    """Write a list of arrays; version 0 is the first one, without a magic number per array."""
    arrays = [_ndarray(values, version) for values in weights.values()]
    names = [struct.pack("<Q", len(name)) + name.encode() for name in weights]
    return write_mxnet_list(path, arrays, names)


def write_mxnet_list(path: Path, arrays: Sequence[bytes], names: Sequence[bytes]) -> Path:
    """Write a list of arrays and names that are encoded already."""
    counts = struct.pack("<Q", len(arrays)), struct.pack("<Q", len(names))
    body = counts[0] + b"".join(arrays) + counts[1] + b"".join(names)
    path.write_bytes(struct.pack("<QQ", 0x112, 0) + body)
    return path


def _ndarray(values: npt.NDArray[Any], version: int) -> bytes:
    axes = struct.pack("<I", values.ndim)
    shape = axes + struct.pack(f"<{values.ndim}q", *values.shape)
    if version == 0:
        shape = axes + struct.pack(f"<{values.ndim}I", *values.shape)
    head = b"" if version == 0 else struct.pack("<I", version)
    head += struct.pack("<i", 0) if version in (V2, V3) else b""  # dense storage
    device = struct.pack("<ii", 1, 0)
    return head + shape + device + struct.pack("<i", MXNET_TYPES[str(values.dtype)]) + (
        values.tobytes()
    )  # fmt: skip


def sparse_ndarray(
    rows: npt.NDArray[Any], indices: npt.NDArray[Any], shape: Sequence[int]
) -> bytes:
    """Return an array of some rows only."""

    def shaped(sizes: Sequence[int]) -> bytes:
        return struct.pack(f"<I{len(sizes)}q", len(sizes), *sizes)

    head = struct.pack("<Ii", V2, 1) + shaped(rows.shape) + shaped(shape) + struct.pack("<ii", 1, 0)
    index = struct.pack("<i", 6) + shaped(indices.shape)
    return head + struct.pack("<i", 0) + index + rows.tobytes() + indices.tobytes()


# ---------------------------------------------------------------- protobuf


def varint(number: int) -> bytes:
    """Return a number in groups of seven bits."""
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def message(number: int, body: bytes | str) -> bytes:
    """Return a field with a length."""
    raw = body.encode() if isinstance(body, str) else body
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def whole(number: int, value: int) -> bytes:
    """Return a field of one number."""
    return varint(number << 3) + varint(value)


# ---------------------------------------------------------------- Caffe

Layers = Sequence[tuple[str, str, Sequence[npt.NDArray[Any]]]]


def blob(values: npt.NDArray[Any], *, old: bool = False) -> bytes:
    """Return a BlobProto; old ones have four axes."""
    padded = (1,) * (4 - values.ndim) + values.shape if old else values.shape
    if old:
        shape = b"".join(whole(axis, n) for axis, n in enumerate(padded, start=1))
    else:
        shape = message(7, message(1, b"".join(map(varint, padded))))
    return shape + message(8 if values.dtype == np.float64 else 5, values.tobytes())


def write_caffe(path: Path, layers: Layers) -> Path:
    """Write a network of layers with name, type and blobs."""
    body = b"".join(
        message(100, message(1, name) + message(2, kind)
                + b"".join(message(7, blob(values)) for values in blobs) + whole(10, 0))
        for name, kind, blobs in layers
    )  # fmt: skip
    path.write_bytes(message(1, "net") + body)
    return path


def write_old_caffe(path: Path, layers: Layers, *, oldest: bool = False) -> Path:
    """Write the same as files before 2015 do: types are numbers, in the first ones words."""
    numbers = {"Convolution": 4, "InnerProduct": 14}
    words = {"Convolution": "conv", "InnerProduct": "innerproduct"}
    body = b""
    for name, kind, blobs in layers:
        stored = [blob(values, old=True) for values in blobs]
        if oldest:
            parts = message(1, name) + message(2, words[kind])
            body += message(2, message(1, parts + b"".join(message(50, each) for each in stored)))
        else:
            parts = message(4, name) + whole(5, numbers[kind])
            body += message(2, parts + b"".join(message(6, each) for each in stored))
    path.write_bytes(message(1, "net") + body)
    return path


# ---------------------------------------------------------------- MindSpore

MINDSPORE_TYPES = {"float32": "Float32", "float64": "Float64", "int32": "Int32", "int64": "Int64"}


def mindspore_entry(name: str, values: npt.NDArray[Any], content: bytes) -> bytes:
    """Return one entry, which may hold a part of the content."""
    dims = b"".join(whole(1, n) for n in values.shape or (0,))
    tensor = dims + message(2, MINDSPORE_TYPES[str(values.dtype)]) + message(3, content)
    return message(1, message(1, name) + message(2, tensor))


def write_mindspore(path: Path, weights: Weights, piece: int = 1 << 20, tail: bytes = b"") -> Path:
    """Write parameters, cut into pieces of some bytes."""
    body = b""
    for name, values in weights.items():
        raw = values.tobytes()
        cuts = range(0, max(1, len(raw)), piece)
        body += b"".join(mindspore_entry(name, values, raw[at : at + piece]) for at in cuts)
    path.write_bytes(body + tail)
    return path


# ---------------------------------------------------------------- Darknet

DARKNET_CFG = """
[net]
# a comment
batch=8
width=8
height=8
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=6
size=1
activation=linear

[route]
layers=-1,-3

[convolutional]
filters=2
groups=2
size=1

[connected]
output=5

[softmax]
"""
"""Channels: 3, 4 (8 x 8), 4 (4 x 4), 6, 10 (joined), 2 of 5 each, 5."""

DARKNET_ORDER = (
    ("layers.0.bn.bias", (4,)),
    ("layers.0.bn.weight", (4,)),
    ("layers.0.bn.running_mean", (4,)),
    ("layers.0.bn.running_var", (4,)),
    ("layers.0.conv.weight", (4, 3, 3, 3)),
    ("layers.2.conv.bias", (6,)),
    ("layers.2.conv.weight", (6, 4, 1, 1)),
    ("layers.4.conv.bias", (2,)),
    ("layers.4.conv.weight", (2, 5, 1, 1)),
    ("layers.5.linear.bias", (5,)),
    ("layers.5.linear.weight", (5, 32)),
)
"""Names and shapes of the arrays, in the order of the file."""


def darknet_weights(seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Return random weights of that network, in the order of the file."""
    chance = np.random.default_rng(seed)
    return {name: chance.normal(size=shape).astype("f4") for name, shape in DARKNET_ORDER}


def write_darknet(path: Path, weights: Weights, seen: int = 80, minor: int = 2) -> Path:
    """Write weights, and the configuration beside them."""
    path.with_name("net.cfg").write_text(DARKNET_CFG)
    counter = struct.pack("<Q" if minor >= 2 else "<I", seen)
    head = struct.pack("<3i", 0, minor, 0) + counter
    path.write_bytes(head + b"".join(values.tobytes() for values in weights.values()))
    return path
