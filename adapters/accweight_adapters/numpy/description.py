"""Describe NumPy `.npz` archives and `.npy` arrays, as JAX and plain Python scripts save them.

An `.npz` is a zip of `.npy` members. Stored members are byte ranges after a short header;
compressed ones are inflated when they are read. Object arrays are pickles, whose arrays are found
by `objects`. Scalars next to the weights (a step, a loss) are taken as step and measures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.zip import (
    Member,
    content_of,
    first_name,
    inflated,
    member_names,
    members_of,
)
from accweight_adapters.keras_hints import dotted, with_keras_hints
from accweight_adapters.measures import RECENT, measures_in
from accweight_adapters.numbered import with_numbered_hints
from accweight_adapters.numpy.header import (
    MAGIC,
    MOST_HEADER_BYTES,
    USUAL_HEADER_BYTES,
    ArrayHeader,
    array_header,
    header_end,
)
from accweight_adapters.numpy.objects import (
    NO_WEIGHTS,
    described_objects,
    opened_member,
    tensors_in,
)
from accweight_adapters.pickles.places import Place, stored_array
from accweight_adapters.pickles.values import ArrayClaim, BytesClaim
from accweight_adapters.untrusted import (
    STEP_KEYS,
    ClaimError,
    checked_name,
    claims_of,
    is_c_order,
    quoted,
    quoted_few,
    step_among,
)
from accweight_core.dtypes import DTYPES
from accweight_core.errors import FormatError
from accweight_core.remote import is_remote
from accweight_core.schema import Description, Extent, HiddenValues, StoredTensor

FORMAT: Final = "NumPy"
ARRAY_SUFFIX: Final = ".npy"
SINGLE_NAME: Final = "array"
"""Name of the only parameter of a run of `.npy` files; the file names give the steps."""

ADVICE: Final = "save plain arrays by name: numpy.savez(PATH, **{name: array})"

LARGEST_FIGURES: Final = 1 << 20
"""Most bytes of a compressed array that may be a history of losses; longer ones are weights."""


def recognised(path: Path) -> bool:
    """Tell whether `path` is a NumPy array or an archive of some."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC or first_name(file).endswith(ARRAY_SUFFIX):
                return True
            return any(name.endswith(ARRAY_SUFFIX) for name in member_names(file))
    except Exception:  # damaged zips raise nearly anything
        return False


def described(path: Path) -> Description:
    """Describe the arrays in `path`, in the order in which they were saved.

    Raises:
        FormatError: If the file is damaged or inconsistent, or has objects instead of numbers.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            return _single(path, file)
        return _archive(path, file)


@dataclass(frozen=True, slots=True)
class Array:
    """One array: its header and location.

    `member` is set if it is compressed or a pickle, `place` if it is in something compressed.
    """

    name: str
    header: ArrayHeader
    path: Path
    offset: int
    member: Member | None = None
    place: Place | None = None

    @property
    def strides(self) -> tuple[int, ...] | None:
        """Strides in elements; None for C order."""
        shape = self.header.shape
        steps = tuple(int(np.prod(shape[:axis], dtype=object)) for axis in range(len(shape)))
        return steps if self.header.is_fortran and not is_c_order(shape, steps) else None

    @property
    def values(self) -> Extent | HiddenValues:
        """Location of the values."""
        header = self.header
        if self.place is not None:
            raw = BytesClaim(self.offset, header.data_bytes)
            claim = ArrayClaim(
                header.dtype, header.shape, raw, header.is_fortran, big_endian=header.big_endian
            )
            return stored_array(self.name, claim, self.place).values
        if self.member is not None:
            dtype = "float32" if header.dtype == "bfloat16" else header.dtype
            return HiddenValues(partial(_inflated, self), dtype, header.shape)
        return Extent(
            str(self.path), self.offset, header.dtype, header.shape, self.strides, header.big_endian
        )


def _single(path: Path, file: IO[bytes]) -> Description:
    file.seek(0)
    header = array_header(file.read(MOST_HEADER_BYTES))
    if header.is_objects:
        return described_objects(path, file, header.size_bytes)
    if header.problem:
        raise ClaimError(f"holds {header.problem}, not numbers; {ADVICE}")
    size_bytes = path.stat().st_size
    _check_size("the array", header, size_bytes)
    array = Array(SINGLE_NAME, header, path, header.size_bytes)
    tensor = StoredTensor(SINGLE_NAME, array.values)
    return Description("NumPy array", (tensor,), files=(str(path),))


def _archive(path: Path, file: IO[bytes]) -> Description:
    members = members_of(file, path.stat().st_size)
    arrays, others = [], list[str]()
    for name, member in members.items():
        if name.endswith(ARRAY_SUFFIX):
            arrays.append(array_of(path, file, name.removesuffix(ARRAY_SUFFIX), member))
        else:
            others.append(name)
    weights = [array for array in arrays if not array.header.problem]
    pickled = {array.name: array for array in arrays if array.header.is_objects}
    inside, remarks = _in_objects(path, file, pickled)
    arrays = [array for array in arrays if array.name not in {*inside, *remarks}]
    notes = [f"left out {quoted_few(others)}: not arrays"] if others else []
    for problem in dict.fromkeys(a.header.problem for a in arrays if a.header.problem):
        names = [array.name for array in arrays if array.header.problem == problem]
        notes.append(f"left out {quoted_few(names)}: {problem}")
    figures = {array.name: array for array in weights if _may_be_figure(array)}
    step, key, measures = _figures_of(figures, file)
    clocks = {name for name, array in figures.items() if not array.header.shape} & {*STEP_KEYS}
    beside = {*measures, *clocks}
    kept = [array for array in weights if array.name not in beside]
    notes += [f"left out {quoted(name)}: {remark}" for name, remark in remarks.items()]
    if not kept and not inside:
        raise ClaimError(
            f"holds no arrays of numbers; {'; '.join(notes) or 'it is empty'}; {ADVICE}"
        )
    is_alone = not kept and len(inside) == 1
    return Description(
        format="NumPy archive" if not any(a.member for a in kept) else "NumPy archive, compressed",
        tensors=(*tensors_of(kept), *_unnested(inside, is_alone=is_alone)),
        step=step,
        step_key=key,
        files=(str(path),),
        notes=tuple(notes),
        measures=measures,
    )


def _in_objects(
    path: Path, file: IO[bytes], arrays: Mapping[str, Array]
) -> tuple[dict[str, tuple[StoredTensor, ...]], dict[str, str]]:
    """Return the tensors inside object arrays, and why others are left out, by name."""
    found: dict[str, tuple[StoredTensor, ...]] = {}
    remarks: dict[str, str] = {}
    for name, array in arrays.items():
        window, place = opened_member(path, file, array.member, array.offset)
        try:
            with claims_of(path, FORMAT):
                found[name] = tensors_in(window, place)
        except FormatError as error:
            reason = str(error).removeprefix(f"{path}: ")
            is_plain = reason.startswith(NO_WEIGHTS)
            remarks[name] = array.header.problem if is_plain else reason
    return found, remarks


def _unnested(
    inside: Mapping[str, tuple[StoredTensor, ...]], *, is_alone: bool
) -> tuple[StoredTensor, ...]:
    """Return the tensors inside object arrays, named after both, unless one array is all."""
    tensors = []
    for name, group in inside.items():
        prefix = "" if is_alone else f"{re.sub('/', '.', name)}."
        tensors += [replace(t, name=checked_name(prefix + t.name)) for t in group]
    return with_numbered_hints(with_keras_hints(tensors))


def array_of(path: Path, file: IO[bytes], name: str, member: Member) -> Array:
    """Return the location of an array in a member of a zip.

    Raises:
        ClaimError: If its header is damaged, or its size not what the header says.
    """
    header = array_header(_beginning(file, member))
    if not header.problem:
        _check_size(f"array {quoted(name)}", header, member.size_bytes)
    offset = member.offset + header.size_bytes
    is_hidden = member.is_deflated or header.is_objects
    return Array(checked_name(name), header, path, offset, member if is_hidden else None)


def _beginning(file: IO[bytes], member: Member) -> bytes:
    """Return the first bytes of a member; for a remote file only as many as its header has."""
    if is_remote(file) and member.stored_bytes > MOST_HEADER_BYTES:
        first = content_of(file, member, USUAL_HEADER_BYTES)
        if header_end(first) <= len(first):
            return first
    return content_of(file, member, MOST_HEADER_BYTES)


def _check_size(what: str, header: ArrayHeader, size_bytes: int) -> None:
    needed = header.size_bytes + header.data_bytes
    if needed != size_bytes:
        raise ClaimError(
            f"{what} of shape {header.shape} and type {header.dtype} needs {needed} bytes with "
            f"its header, it has {size_bytes}; it is cut short or damaged"
        )


def tensors_of(arrays: Sequence[Array]) -> tuple[StoredTensor, ...]:
    """Return arrays as tensors, with dotted names and hints."""
    names = dotted([array.name for array in arrays])
    tensors = [StoredTensor(n, array.values) for n, array in zip(names, arrays, strict=True)]
    return with_numbered_hints(with_keras_hints(tensors))


# ---------------------------------------------------------------- figures beside the weights


def _may_be_figure(array: Array) -> bool:
    """Tell by name and shape whether an array may be a step, a loss or a history of losses."""
    header = array.header
    family = DTYPES[header.dtype].family if header.dtype else ""
    return (
        len(header.shape) < 2
        and family in ("float", "integer")
        and header.dtype != "bfloat16"
        and re.search(r"[./]", array.name) is None
        and (array.member is None or header.data_bytes <= LARGEST_FIGURES)
    )


def _figures_of(
    figures: Mapping[str, Array], file: IO[bytes]
) -> tuple[int | None, str, dict[str, float]]:
    """Return the step, its key, and the measures among scalars and vectors."""
    blank: dict[str, Any] = {
        name: [0.0] if array.header.shape else 0.0 for name, array in figures.items()
    }
    named = measures_in(blank)
    numbers = {
        name: _number(array, file)
        for name, array in figures.items()
        if name in named or not array.header.shape
    }
    found = step_among({name: n for name, n in numbers.items() if not isinstance(n, list)})
    step, key = found or (None, "")
    return step, key, measures_in({name: numbers[name] for name in named if name != key})


def _number(array: Array, file: IO[bytes]) -> Any:
    """Return the value of a scalar, or the last values of a vector."""
    header = array.header
    size, dtype = DTYPES[header.dtype].size_bytes, _numpy_dtype(header)
    if array.member is not None:
        raw = content_of(file, array.member, array.member.size_bytes)[header.size_bytes :]
    else:
        first = max(0, header.data_bytes - RECENT * size)
        file.seek(array.offset + first)
        raw = file.read(header.data_bytes - first)
    values = np.frombuffer(raw, dtype)[-RECENT:].tolist()
    return values if header.shape else values[0]


# ---------------------------------------------------------------- compressed values


def _numpy_dtype(header: ArrayHeader) -> np.dtype[Any]:
    name = "uint16" if header.dtype == "bfloat16" else header.dtype
    return np.dtype(name).newbyteorder(">" if header.big_endian else "<")


def _inflated(array: Array) -> npt.NDArray[Any]:
    """Return the values of a compressed array.

    Raises:
        FormatError: If the file is damaged, or has changed since it was described.
    """
    header, member = array.header, array.member
    with claims_of(array.path, FORMAT), array.path.open("rb") as file:
        if member is None:
            raise ClaimError(f"array {quoted(array.name)} is not compressed")
        values = np.empty(
            header.shape, _numpy_dtype(header), order="F" if header.is_fortran else "C"
        )
        raw = values.reshape(-1, order="A").view(np.uint8)
        place = -header.size_bytes
        for piece in inflated(file, member):
            skipped = max(0, -place)
            raw[max(0, place) : place + len(piece)] = np.frombuffer(piece[skipped:], np.uint8)
            place += len(piece)
    if header.dtype == "bfloat16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values
