"""What calls in a pickle stand for; nothing is looked up or called.

A call of one of the functions that rebuild tensors (torch) or arrays (NumPy, JAX) becomes a claim
about its type, shape and bytes; a call of anything else becomes an opaque `Entity`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from accweight_adapters.pickles.values import (
    ArrayClaim,
    BytesClaim,
    Entity,
    Global,
    NumpyDtype,
    StorageClaim,
    TensorClaim,
    TextClaim,
)
from accweight_adapters.untrusted import ClaimError, checked_shape, checked_size, checked_sizes
from accweight_core.dtypes import DTYPES

BYTES_KEPT: Final = 64
"""Longest string of bytes that is kept."""

UNINITIALISED: Final = "lazy parameters, saved before their first input"
"""Why the parameters of a lazy module have no values."""


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


def _uninitialised(*_args: object) -> TensorClaim:
    return TensorClaim("float32", (), refusal=UNINITIALISED)


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
    if not isinstance(function, Global) or not isinstance(args, tuple):
        raise ClaimError("a tensor subclass is made by something that is not a known function")
    return called(function.name, args)


def _first(data: object, *_rest: object) -> object:
    return data


def _encode(text: object, encoding: object = "", *_rest: object) -> object:
    """Return text as the bytes that it encodes: strings of bytes before protocol 3."""
    is_bytes = encoding in ("latin1", "latin-1", "")
    if isinstance(text, str) and is_bytes:
        return BytesClaim(-1, len(text), text)
    if isinstance(text, TextClaim) and is_bytes:
        return BytesClaim(text.offset, text.size_bytes, None, text.encoding)
    return Entity("_codecs.encode")


def _bytes(content: object = b"", *rest: object) -> object:
    """Return the bytes of `bytes(...)` or `bytearray(...)` if they are in the pickle."""
    if isinstance(content, BytesClaim):
        return content
    if content == b"":
        return BytesClaim(-1, 0, b"")
    return _encode(content) if rest else Entity("builtins.bytes")


def _tuple(items: object = (), *_rest: object) -> object:
    """Return a tuple, or the array that PaddlePaddle pickles as ``tuple((name, array))``."""
    if not isinstance(items, tuple):  # no copies: a pickle can refer to one list a thousand times
        return Entity("builtins.tuple", (items,))
    is_named = len(items) == 2 and isinstance(items[0], str)
    return items[1] if is_named and isinstance(items[1], ArrayClaim) else items


# ---------------------------------------------------------------- NumPy


def _numpy_dtype(code: object = None, *_rest: object) -> object:
    if isinstance(code, Global):  # the types of ml_dtypes are named by their class
        return NumpyDtype(code.name.rpartition(".")[2], "<")
    return NumpyDtype(code) if isinstance(code, str) and len(code) <= 16 else Entity("numpy.dtype")


def _numpy_scalar(dtype: object = None, raw: object = None, *_rest: object) -> object:
    if isinstance(raw, str) and len(raw) <= BYTES_KEPT:  # of Python 2
        raw = _encode(raw)
    if isinstance(dtype, NumpyDtype) and isinstance(raw, BytesClaim):
        return dtype.number(raw.known or b"")
    return Entity("numpy.generic")


def _unfilled(*_args: object) -> ArrayClaim:
    return ArrayClaim(refusal="its values are missing")


def _from_buffer(
    raw: object = None,
    dtype: object = None,
    shape: object = (),
    order: object = "C",
    axes: object = None,
    *_: object,
) -> object:
    """Return the array that protocol 5 makes from a buffer.

    Of order "K" are those that are neither C nor Fortran: the buffer holds them in C order with
    their axes permuted, and `axes` says where each axis of the array lies in it.
    """
    array = ArrayClaim(shape=checked_shape(shape), is_fortran=order == "F")
    if order == "K" and axes is not None:
        array.axes = _checked_axes(axes, len(array.shape))
        array.shape = tuple(array.shape[axis] for axis in array.axes)
    return with_elements(array, dtype, raw)


def _checked_axes(axes: object, count: int) -> tuple[int, ...]:
    """Return a permutation of axes.

    Raises:
        ClaimError: If it is none.
    """
    order = tuple(axes) if isinstance(axes, (tuple, list)) else ()
    if not all(type(axis) is int for axis in order) or sorted(order) != list(range(count)):
        raise ClaimError("an array in its pickle has its axes in no order that exists")
    return order


def _jax_array(function: object, args: object, state: object, *_rest: object) -> object:
    array: object = None
    if isinstance(function, Global) and isinstance(args, tuple):
        array = called(function.name, args)
    if isinstance(array, ArrayClaim) and is_array_state(state):
        filled_array(array, state)
    return array


KINDS: Final = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}
"""Families of element types, by NumPy's letter."""


def element_type(dtype: object) -> str:
    """Return the name of an element type, or '' if it is not a number."""
    code = dtype.code.lstrip("<>=|") if isinstance(dtype, NumpyDtype) else ""
    if code in DTYPES:  # those of ml_dtypes
        return code
    letter, size = code[:1], code[1:] or "1"
    if not size.isdecimal() or not size.isascii():
        return ""
    name = KINDS.get(letter, "") + ("" if letter == "b" else str(8 * int(size)))
    return name if name in DTYPES and DTYPES[name].size_bytes == int(size) else ""


def with_elements(array: ArrayClaim, dtype: object, raw: object) -> ArrayClaim:
    """Return an array with its element type and bytes set, after checking their number."""
    array.dtype = element_type(dtype)
    array.big_endian = isinstance(dtype, NumpyDtype) and (
        dtype.order == ">" or dtype.code.startswith(">")
    )
    array.refusal = ""
    if isinstance(raw, str) and array.dtype:  # short bytes of Python 2
        raw = _encode(raw)
    if isinstance(raw, list):
        array.dtype, array.objects = "", raw
    elif isinstance(raw, BytesClaim) and array.dtype:
        needed = math.prod(array.shape) * DTYPES[array.dtype].size_bytes
        is_plain = not raw.encoding
        if raw.size_bytes < needed or (is_plain and raw.size_bytes != needed):
            raise ClaimError(
                f"an array of shape {array.shape} and type {array.dtype} needs {needed} bytes, "
                f"it has {raw.size_bytes}"
            )
        array.raw = raw
    elif array.dtype:
        array.refusal = "its values are outside the pickle"
    return array


def is_array_state(state: object) -> bool:
    """Tell whether this is what NumPy sets on an array after making it."""
    return isinstance(state, tuple) and len(state) in (4, 5) and isinstance(state[-4], tuple)


def filled_array(array: ArrayClaim, state: Any) -> None:
    """Set shape, type and bytes of an array from ``([version,] shape, dtype, fortran, raw)``."""
    shape, dtype, is_fortran, raw = state[-4:]
    array.shape, array.is_fortran = checked_shape(shape), is_fortran is True or is_fortran == 1
    with_elements(array, dtype, raw)


# ---------------------------------------------------------------- by name


CALLS: Final[dict[str, Callable[..., object]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.parameter.UninitializedParameter": _uninitialised,
    "torch.nn.parameter.UninitializedBuffer": _uninitialised,
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
    "builtins.bytes": _bytes,
    "builtins.tuple": _tuple,
    "builtins.bytearray": _bytes,
    "numpy.core.multiarray._reconstruct": _unfilled,
    "numpy._core.multiarray._reconstruct": _unfilled,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "jax._src.array._reconstruct_array": _jax_array,
    "jax._src.device_array.reconstruct_device_array": _jax_array,
    "numpy.dtype": _numpy_dtype,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
"""Results of calls by name; a call of any other name is an opaque `Entity`."""


def called(name: str, arguments: tuple[object, ...]) -> object:
    """Return the symbolic result of calling a name with arguments; nothing is called."""
    known = CALLS.get(name)
    return Entity(name, arguments) if known is None else known(*arguments)


Remade = tuple[object, tuple[object, ...]]


def _remade(arguments: Any) -> Remade:
    """Return class and arguments of ``copyreg._reconstructor(class, base, state)``."""
    kind, *_, state = arguments
    return kind, () if state is None else (state,)


def _new(arguments: Any) -> Remade:
    """Return class and arguments of ``copyreg.__newobj__(class, *arguments)``."""
    kind, *rest = arguments
    return kind, tuple(rest)


REMAKERS: Final[dict[str, Callable[[Any], Remade]]] = {
    "copyreg._reconstructor": _remade,
    "copy_reg._reconstructor": _remade,
    "copyreg.__newobj__": _new,
    "copy_reg.__newobj__": _new,
}
"""Functions by which old protocols make objects of a class."""


def _dtype_name(dtype: object) -> str:
    if not isinstance(dtype, Global) or not dtype.name.startswith("torch."):
        raise ClaimError("a tensor has no element type")
    return dtype.name.removeprefix("torch.")
