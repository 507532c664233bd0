"""Arrays in joblib's dumps: a pickled wrapper describes each, and its bytes follow it at once.

They lie between the operations of the pickle, behind padding whose length is in one byte.
"""

from __future__ import annotations

import math
import re
from typing import Final

from accweight_adapters.pickles.calls import element_type, with_elements
from accweight_adapters.pickles.interpreter import Interpreter
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.pickles.values import ArrayClaim, BytesClaim, Entity, NumpyDtype
from accweight_adapters.untrusted import ClaimError, checked_shape, quoted
from accweight_core.dtypes import DTYPES

WRAPPER = re.compile(r"(sklearn\.externals\.)?joblib\.numpy_pickle\.NumpyArrayWrapper")
SEPARATE = re.compile(r"(sklearn\.externals\.)?joblib\.numpy_pickle(_compat)?\.Z?NDArrayWrapper")
ITEM = re.compile(r"[<>|=]?(?P<letter>[a-zA-Z])(?P<size>[0-9]{1,9})")
TEXT_BYTES: Final = 4
"""Bytes per character of NumPy's text."""


def followed(entity: Entity, stream: PickleStream) -> object:
    """Return the array that a wrapper describes, past its bytes; other objects as they are.

    Raises:
        ClaimError: If the bytes are missing, or in files of their own.
    """
    if SEPARATE.fullmatch(entity.kind):
        raise ClaimError(
            "its arrays are in files beside it, as joblib before 0.10 wrote them; "
            "save it again: joblib.dump(joblib.load(PATH), NEW)"
        )
    if not WRAPPER.fullmatch(entity.kind):
        return entity
    fields = entity.attributes
    dtype, shape = fields.get("dtype"), checked_shape(fields.get("shape"))
    if isinstance(dtype, NumpyDtype) and dtype.code.lstrip("|").startswith("O"):
        return Interpreter(stream, following=followed).load()
    if fields.get("numpy_array_alignment_bytes") is not None:
        stream.skip(stream.read(1)[0])
    size_bytes = math.prod(shape) * _item_bytes(dtype)
    raw = BytesClaim(stream.skip(size_bytes), size_bytes)
    array = ArrayClaim(shape=shape, is_fortran=fields.get("order") == "F")
    return with_elements(array, dtype, raw)


def _item_bytes(dtype: object) -> int:
    name = element_type(dtype)
    if name:
        return DTYPES[name].size_bytes
    code = dtype.code if isinstance(dtype, NumpyDtype) else ""
    match = ITEM.fullmatch(code)
    if match is None:
        raise ClaimError(f"an array of joblib has elements of an unknown type {quoted(code)}")
    return int(match["size"]) * (TEXT_BYTES if match["letter"] == "U" else 1)
