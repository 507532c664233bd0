"""The names that a torch pickle may contain, and their symbolic results.

The list is that of `torch.load(weights_only=True)`, plus the names that NumPy scalars and arrays
need. No name is looked up: a call of one of torch's rebuild functions becomes a `TensorClaim`,
everything else on the list becomes `OPAQUE`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from accweight_adapters.untrusted import (
    ClaimError,
    checked_shape,
    checked_size,
    checked_sizes,
    quoted,
)

STORAGE_DTYPES: Final = {
    "torch.DoubleStorage": ("float64", 8),
    "torch.FloatStorage": ("float32", 4),
    "torch.HalfStorage": ("float16", 2),
    "torch.BFloat16Storage": ("bfloat16", 2),
    "torch.ComplexDoubleStorage": ("complex128", 16),
    "torch.ComplexFloatStorage": ("complex64", 8),
    "torch.LongStorage": ("int64", 8),
    "torch.IntStorage": ("int32", 4),
    "torch.ShortStorage": ("int16", 2),
    "torch.CharStorage": ("int8", 1),
    "torch.ByteStorage": ("uint8", 1),
    "torch.BoolStorage": ("bool", 1),
    "torch.QInt32Storage": ("qint32", 4),
    "torch.QInt8Storage": ("qint8", 1),
    "torch.QUInt8Storage": ("quint8", 1),
    "torch.QUInt4x2Storage": ("quint4x2", 1),
    "torch.QUInt2x4Storage": ("quint2x4", 1),
    "torch.UntypedStorage": ("uint8", 1),
    "torch.storage.UntypedStorage": ("uint8", 1),
}
"""Element type and its size in bytes, by storage class."""


NUMBER_CODES: Final = {
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
"""`struct` codes by NumPy type code, for scalars that may be a step."""


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function named in the pickle; never looked up."""

    name: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that does not matter for the weights."""


OPAQUE = Opaque()


@dataclass(eq=False, slots=True)
class Record:
    """An object of a known plain data class: the name of its class, and its arguments."""

    kind: str
    state: object = None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that a pickle may contain, and the results of calls.

    Attributes:
        allows: Tells whether a full name is allowed.
        call: Returns the symbolic result of calling a `Global` with arguments.
    """

    allows: Callable[[str], bool]
    call: Callable[[object, object], object]


@dataclass(frozen=True, slots=True)
class StorageClaim:
    """A byte range outside the pickle: `size_bytes` from `start_bytes` of record `key`."""

    key: str
    dtype: str
    start_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """A tensor as the pickle describes it; offset and strides are in elements."""

    dtype: str
    shape: tuple[int, ...]
    storage: StorageClaim | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()
    refusal: str = ""


@dataclass(slots=True)
class NumpyDtype:
    """A NumPy element type: pickles create it by code and then set the byte order."""

    code: str
    order: str = "<"

    def number(self, raw: bytes) -> int | float | Opaque:
        """Return the number that `raw` encodes in this type, or `OPAQUE`."""
        code = NUMBER_CODES.get(self.code)
        if code is None or struct.calcsize(code) != len(raw):
            return OPAQUE
        number: int | float = struct.unpack(self.order + code, raw)[0]
        return number


class RefusedGlobalError(ClaimError):
    """Raised for a name that plain weights do not need.

    Attributes:
        name: The name.
    """

    def __init__(self, name: str, *, whole: bool) -> None:
        plain = "only plain weights are read and nothing in the file is run"
        trust = "If you trust it, convert it in the environment that made it:"
        load = "torch.load(PATH, weights_only=False)"
        if whole:
            problem = (
                f"holds a whole pickled object ({quoted(name)}), not a state dict; {plain}. "
                f"{trust} torch.save({load}.state_dict(), NEW)"
            )
        else:
            problem = (
                f"its pickle needs {quoted(name)}; {plain}. {trust} torch.save({load}['KEY'], NEW)"
                ", KEY being the entry with the weights; for a model, add .state_dict()"
            )
        super().__init__(problem)
        self.name = name


def _tensor(
    storage: object, offset: object, shape: object, strides: object, *, dtype: str = ""
) -> TensorClaim:
    if not isinstance(storage, StorageClaim):
        raise ClaimError("a tensor is not built on a storage")
    sizes, steps = checked_shape(shape), checked_sizes(strides, "a stride")
    if len(sizes) != len(steps):
        raise ClaimError(f"a tensor of shape {sizes} claims {len(steps)} strides")
    first = checked_size(offset, "a storage offset")
    return TensorClaim(dtype or storage.dtype, sizes, storage, first, steps)


def _tensor_v2(*args: object) -> TensorClaim:
    metadata = args[6] if len(args) > 6 else None
    return _unless_lazy(_tensor(*args[:4]), metadata)


def _tensor_v3(*args: object) -> TensorClaim:
    metadata = args[7] if len(args) > 7 else None
    return _unless_lazy(_tensor(*args[:4], dtype=_dtype_name(args[6])), metadata)


def _unless_lazy(tensor: TensorClaim, metadata: object) -> TensorClaim:
    """Refuse tensors with a pending conjugation or negation."""
    if isinstance(metadata, dict) and any(metadata.values()):
        reason = "stored with a pending conjugation or negation; save tensor.resolve_conj()"
        return TensorClaim(tensor.dtype, tensor.shape, refusal=reason)
    return tensor


def _quantised(storage: object, _offset: object, shape: object, *_rest: object) -> TensorClaim:
    dtype = storage.dtype if isinstance(storage, StorageClaim) else "qint8"
    reason = f"quantised by torch ({dtype}); save tensor.dequantize() instead"
    return TensorClaim(dtype, checked_shape(shape), refusal=reason)


def _sparse(_layout: object, data: object) -> TensorClaim:
    parts = data if isinstance(data, tuple) else ()
    dtypes = [part.dtype for part in parts if isinstance(part, TensorClaim)]
    shapes = [checked_shape(part) for part in parts if isinstance(part, (tuple, list))]
    reason = "a sparse tensor, whose stored elements may differ between checkpoints"
    return TensorClaim((dtypes or ["float32"])[-1], (shapes or [()])[-1], refusal=reason)


def _nested(buffer: object, *_rest: object) -> TensorClaim:
    dtype = buffer.dtype if isinstance(buffer, TensorClaim) else "float32"
    return TensorClaim(dtype, (), refusal="a nested tensor, which has no single shape")


def _meta(dtype: object, shape: object, *_rest: object) -> TensorClaim:
    reason = "saved on the meta device, so the file holds no values for it"
    return TensorClaim(_dtype_name(dtype), checked_shape(shape), refusal=reason)


def _wrapper(_cls: object, dtype: object, shape: object, *_rest: object) -> TensorClaim:
    reason = "a tensor subclass without values of its own"
    return TensorClaim(_dtype_name(dtype), checked_shape(shape), refusal=reason)


def _from_numpy(_data: object, dtype: object, *_rest: object) -> TensorClaim:
    reason = "saved by a device that torch pickles through NumPy; save it from the CPU instead"
    return TensorClaim(_dtype_name(dtype), (), refusal=reason)


def _from_cpu(data: object, dtype: object, *_rest: object) -> object:
    if isinstance(data, TensorClaim) and data.dtype == _dtype_name(dtype):
        return data
    return _from_numpy(data, dtype)


def _from_type(function: object, _cls: object, args: object, _state: object) -> object:
    return call(function, args)


def _first(data: object, *_rest: object) -> object:
    return data


def _encode(text: object, *_rest: object) -> object:
    """Return short text encoded as bytes, as NumPy scalars of protocol 2 need it."""
    return text.encode("latin1") if isinstance(text, str) and len(text) <= 16 else OPAQUE


def _numpy_dtype(code: object, *_rest: object) -> object:
    return NumpyDtype(code) if isinstance(code, str) and len(code) <= 16 else OPAQUE


def _numpy_scalar(dtype: object, raw: object = None, *_rest: object) -> object:
    if isinstance(dtype, NumpyDtype) and isinstance(raw, bytes):
        return dtype.number(raw)
    return OPAQUE


def _opaque(*_args: object) -> object:
    return OPAQUE


CALLS: Final[dict[str, Callable[..., object]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_numpy,
    "torch._utils._rebuild_xla_tensor": _from_numpy,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_cpu,
    "torch.Size": _first,
    "_codecs.encode": _encode,
    "numpy.dtype": _numpy_dtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
"""Results of calls by name; a call of any other allowed name is `OPAQUE`."""

INERT: Final = frozenset(
    {
        "collections.OrderedDict",
        "collections.Counter",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.set",
        "torch.Tensor",
        "torch.device",
        "torch.per_channel_affine",
        "torch.per_channel_affine_float_qparams",
        "torch.per_channel_symmetric",
        "torch.per_tensor_affine",
        "torch.per_tensor_symmetric",
        "torch.serialization._get_layout",
        "numpy.ndarray",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
    }
)
"""Further allowed names, for plain weights or the NumPy values next to them."""

ALLOWED_FAMILY = re.compile(
    r"torch\.(bool|(b?float|q?u?int|complex|bits)[0-9][0-9a-z_]*)|numpy\.dtypes\.[0-9A-Za-z]+DType"
)
"""Element types of torch and NumPy."""


def is_allowed(name: str) -> bool:
    """Tell whether a pickle of plain weights may contain `name`."""
    known = name in CALLS or name in INERT or name in STORAGE_DTYPES
    return known or ALLOWED_FAMILY.fullmatch(name) is not None


def call(function: object, args: object) -> object:
    """Return the symbolic result of calling `function` with `args`; nothing is called."""
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise ClaimError("its pickle calls something that is not a known function")
    return CALLS.get(function.name, _opaque)(*args)


def _dtype_name(dtype: object) -> str:
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise ClaimError("a tensor has no element type")
    return dtype.name.removeprefix("torch.")


PLAIN: Final = Vocabulary(is_allowed, call)
"""Plain weights: only the classes and functions for tensors and numbers."""
