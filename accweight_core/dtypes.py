"""Element types by name, and how each is widened before anything is subtracted.

Half precision, bfloat16 and the 8-bit floats widen exactly to float32; float64 stays; complex
values stay complex. Integers are not weights until their scale is known, so only their size is
given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["float", "complex", "integer", "bool"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """One element type.

    Attributes:
    name: Name in torch.
    size_bytes: Bytes per element.
    family: Integer, floating or complex.
    widened: Name of the dtype of the subtraction; empty for integers.
    """

    name: str
    size_bytes: int
    family: Family
    widened: str

    @property
    def code(self) -> str:
        """Name of the NumPy dtype of the elements, or of their codes where NumPy has none."""
        if self.name == "bfloat16":
            return "uint16"
        return "uint8" if self.name.startswith("float8") else self.name


DTYPES: dict[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        Dtype("float64", 8, "float", "float64"),
        Dtype("float32", 4, "float", "float32"),
        Dtype("float16", 2, "float", "float32"),
        Dtype("bfloat16", 2, "float", "float32"),
        Dtype("float8_e4m3fn", 1, "float", "float32"),
        Dtype("float8_e4m3fnuz", 1, "float", "float32"),
        Dtype("float8_e5m2", 1, "float", "float32"),
        Dtype("float8_e5m2fnuz", 1, "float", "float32"),
        Dtype("complex64", 8, "complex", "complex64"),
        Dtype("complex128", 16, "complex", "complex128"),
        Dtype("int64", 8, "integer", ""),
        Dtype("int32", 4, "integer", ""),
        Dtype("int16", 2, "integer", ""),
        Dtype("int8", 1, "integer", ""),
        Dtype("uint64", 8, "integer", ""),
        Dtype("uint32", 4, "integer", ""),
        Dtype("uint16", 2, "integer", ""),
        Dtype("uint8", 1, "integer", ""),
        Dtype("bool", 1, "bool", ""),
    )
}


def is_measurable(name: str) -> bool:
    """Tell whether values of this dtype can be widened and subtracted."""
    dtype = DTYPES.get(name)
    return dtype is not None and bool(dtype.widened)
