"""Locate the bytes of ONNX tensors, in the model file or in external files.

`Weights` turns the pointers from `wire` into extents, after checking offset, length and shape
against the size of the file. Values that are not a plain array, such as float16 stored as integers
or 4-bit codes, become a `StoredValues`, which reads one tensor on request.
"""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, numpy_helper

from accweight_adapters.onnx.wire import (
    DOUBLE_DATA,
    FLOAT_DATA,
    RAW_DATA,
    Pointer,
)
from accweight_core.dtypes import DTYPES
from accweight_core.errors import FormatError
from accweight_core.remote import open_file
from accweight_core.schema import Extent, HiddenValues

LARGEST_RANK = 32

NAMES: dict[int, str] = {
    **{number: name.lower() for name, number in TensorProto.DataType.items()},
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT8E4M3FN: "float8_e4m3fn",
    TensorProto.FLOAT8E4M3FNUZ: "float8_e4m3fnuz",
    TensorProto.FLOAT8E5M2: "float8_e5m2",
    TensorProto.FLOAT8E5M2FNUZ: "float8_e5m2fnuz",
}
"""Names of ONNX element types, as in `accweight_core.dtypes` for those listed there."""

BITS = {"uint4": 4, "int4": 4, "float4e2m1": 4, "uint2": 2, "int2": 2, "float8e8m0": 8}
"""Bits per element of the types that core does not know; their elements are packed."""

PLAIN_FIELDS = {FLOAT_DATA: ("float32", "complex64"), DOUBLE_DATA: ("float64", "complex128")}
"""Typed fields that contain the plain bytes of the values, and their types."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Span:
    """The byte range of the values of one tensor, or of the message that encodes them."""

    path: str
    offset: int
    length: int
    encoded: bool = False


@dataclass(frozen=True, slots=True)
class StoredValues:
    """Reads one tensor that is not an extent; types that NumPy lacks are widened."""

    span: Span
    name: str
    data_type: int
    shape: tuple[int, ...]

    def __call__(self) -> Array:
        """Return the values.

        Raises:
            FormatError: If they do not have the shape that the model states.
        """
        with open_file(self.span.path) as file:
            file.seek(self.span.offset)
            data = file.read(self.span.length)
        try:
            values = numpy_helper.to_array(self._message(data))
        except (DecodeError, ValueError, TypeError, OverflowError) as error:
            raise self._lost(str(error)) from None
        if values.shape != self.shape:
            raise self._lost(f"they have shape {values.shape}")
        return values if values.dtype.isbuiltin == 1 else values.astype(np.float32)

    def _message(self, data: bytes) -> TensorProto:
        if self.span.encoded:
            tensor: TensorProto = TensorProto.FromString(data)
            return tensor
        return TensorProto(dims=self.shape, data_type=self.data_type, raw_data=data)

    def _lost(self, problem: str) -> FormatError:
        return FormatError(
            self.span.path,
            f"the values of tensor {self.name!r} do not fit its shape {self.shape}: {problem}",
        )


@dataclass(frozen=True, slots=True)
class Zeros:
    """A tensor that is not stored because all of its elements are zero."""

    shape: tuple[int, ...]

    def __call__(self) -> Array:
        """Return the zeros."""
        return np.zeros(self.shape, dtype=np.float32)

    def hidden(self) -> HiddenValues:
        """Return them as `HiddenValues`."""
        return HiddenValues(self, "float32", self.shape)


@dataclass
class Weights:
    """The bytes behind the tensors of one model.

    Attributes:
        path: The model file.
        external: The other files that its tensors point into, with their sizes.
    """

    path: Path
    external: dict[str, int] = field(default_factory=dict)

    def values(self, tensor: TensorProto) -> Extent | HiddenValues:
        """Return the location of the values of a tensor.

        Raises:
            FormatError: If the tensor contradicts itself or points outside its file.
        """
        dtype, shape = type_name(tensor), self.shape(tensor)
        span = self.span(tensor)
        if dtype in DTYPES and not span.encoded:
            return Extent(span.path, span.offset, dtype, shape)
        stored = StoredValues(span, tensor.name, tensor.data_type, shape)
        numpy_has_it = dtype in DTYPES and not dtype.startswith(("bfloat", "float8"))
        return HiddenValues(
            stored, dtype if numpy_has_it or dtype not in DTYPES else "float32", shape
        )

    def load(self, tensor: TensorProto) -> StoredValues:
        """Return the function that reads a tensor, whatever its type."""
        return StoredValues(self.span(tensor), tensor.name, tensor.data_type, self.shape(tensor))

    def shape(self, tensor: TensorProto) -> tuple[int, ...]:
        """Return the shape of a tensor, after checking that NumPy supports it."""
        shape = tuple(tensor.dims)
        if len(shape) > LARGEST_RANK or any(length < 0 for length in shape):
            raise self._wrong(tensor, f"has the impossible shape {shape[:LARGEST_RANK]}")
        return shape

    def span(self, tensor: TensorProto) -> Span:
        """Return the bytes of a tensor, checked against its shape and the file's size."""
        elements = math.prod(self.shape(tensor))
        expected = self._expected_bytes(tensor, elements)
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor, expected)
        pointer = Pointer.unpacked(tensor.raw_data)
        dtype = type_name(tensor)
        if pointer.field == RAW_DATA or dtype in PLAIN_FIELDS.get(pointer.field, ()):
            if pointer.length != expected:
                raise self._wrong(tensor, f"holds {pointer.length} bytes but {expected} are needed")
            return Span(str(self.path), pointer.offset, pointer.length)
        if elements == 0:
            return Span(str(self.path), pointer.message_offset, 0)
        return self._encoded(tensor, pointer, elements)

    def _encoded(self, tensor: TensorProto, pointer: Pointer, elements: int) -> Span:
        """Return the span of a message to parse; one byte encodes at most four elements."""
        if pointer.field == 0 or elements > 4 * pointer.message_length:
            there = pointer.message_length if pointer.field else 0
            raise self._wrong(tensor, f"holds {there} bytes of values, too few for its shape")
        return Span(str(self.path), pointer.message_offset, pointer.message_length, encoded=True)

    def _expected_bytes(self, tensor: TensorProto, elements: int) -> int:
        dtype = type_name(tensor)
        if dtype in DTYPES:
            return elements * DTYPES[dtype].size_bytes
        if dtype in BITS:
            return -(-elements * BITS[dtype] // 8)
        raise self._wrong(tensor, f"has the element type {dtype!r}, which cannot be measured")

    def _external(self, tensor: TensorProto, expected: int) -> Span:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._external_file(tensor, location)
        offset = self._number(tensor, entries.get("offset", "0"), location)
        length = self._number(tensor, entries.get("length", str(expected)), location)
        size = self.external[path]
        if length != expected:
            raise self._wrong(
                tensor,
                f"claims {length} bytes of external data in {location!r} but its shape "
                f"{tuple(tensor.dims)} needs {expected}; export the model again",
            )
        if offset + length > size:
            raise self._wrong(
                tensor,
                f"reaches to byte {offset + length} of external data {location!r}, "
                f"which has {size}; copy that file again, or export the model again",
            )
        return Span(path, offset, length)

    def _number(self, tensor: TensorProto, text: str, location: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise self._wrong(
                tensor, f"has no valid offset or length in {location!r}: {text[:40]!r}"
            )
        return int(text)

    def _external_file(self, tensor: TensorProto, location: str) -> str:
        """Return the path of an external file, which must be a regular file inside the folder.

        The rules are those of onnx: relative, no `..`, no symbolic link, no second hard link.
        """
        parts = PurePosixPath(location).parts
        if not parts or "\0" in location or location.startswith(("/", "\\")) or ".." in parts:
            raise self._wrong(
                tensor,
                f"points outside the model's folder: {location!r}; such a model is not "
                "safe to read. Save it again with a relative location",
            )
        path = self.path.parent.joinpath(*parts)
        if str(path) not in self.external:
            self.external[str(path)] = self._plain_file_size(tensor, path, location)
        return str(path)

    def _plain_file_size(self, tensor: TensorProto, path: Path, location: str) -> int:
        try:
            status = path.lstat()
            inside = path.resolve(strict=True) == self.path.parent.resolve() / location
        except (OSError, ValueError, RuntimeError):
            raise self._wrong(
                tensor,
                f"has its values in {location!r}, which is not there; copy that file "
                "beside the model",
            ) from None
        if not (stat.S_ISREG(status.st_mode) and inside) or status.st_nlink > 1:
            raise self._wrong(
                tensor,
                f"has its values in {location!r}, which is a link, or not a plain file, and may "
                "lead out of the model's folder; replace it by a copy of the file",
            )
        return status.st_size

    def _wrong(self, tensor: TensorProto, problem: str) -> FormatError:
        return FormatError(self.path, f"tensor {tensor.name!r} {problem}")


def type_name(tensor: TensorProto) -> str:
    """Return the name of a tensor's element type."""
    return NAMES.get(tensor.data_type, f"type {tensor.data_type}")
