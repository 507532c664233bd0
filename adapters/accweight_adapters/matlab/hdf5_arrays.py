"""Arrays in MAT-files of version 7.3, which are HDF5 after a header of 512 bytes.

Structures are groups. Cells are lists of references to a hidden group; they are left out with a
note. MATLAB's arrays have their first axis contiguous, so HDF5 has their axes in reverse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy.typing as npt

from accweight_adapters.hdf5.blocks import SIGNATURE
from accweight_adapters.hdf5.file import Hdf5File, Node, Place, tensor_of
from accweight_adapters.matlab.elements import axes_of
from accweight_adapters.untrusted import ClaimError, quoted_few
from accweight_core.schema import Description, Extent, HiddenValues, Hints, StoredTensor

FORMAT: Final = "MATLAB 7.3"
START: Final = 512
CLASS: Final = "MATLAB_class"
NOT_NUMBERS: Final = frozenset({"cell", "char", "function_handle", "string", "table"})
HIDDEN: Final = "#"
"""First character of the groups of MATLAB itself."""

MOST_DEPTH: Final = 16


def is_hdf5(file: IO[bytes]) -> bool:
    """Tell whether HDF5 follows the header."""
    file.seek(START)
    return file.read(len(SIGNATURE)) == SIGNATURE


def described_hdf5(path: Path) -> Description:
    """Return the description of a file of version 7.3.

    Raises:
        ClaimError: If it is damaged, or holds no numbers.
    """
    left_out: list[str] = []
    with ExitStack() as stack:
        place = Place(path, 0, path.stat().st_size)
        file = Hdf5File(place, stack.enter_context(place.opened()))
        tensors = tuple(_tensors(file.root, "", left_out, set(), 0))
    note = f"left out {quoted_few(left_out)}: cells, text or objects, not numbers"
    if not tensors:
        raise ClaimError(f"holds no arrays of numbers{f'; {note}' if left_out else ''}")
    return Description(FORMAT, tensors, files=(str(path),), notes=(note,) if left_out else ())


def _tensors(
    node: Node, prefix: str, left_out: list[str], seen: set[int], depth: int
) -> Iterator[StoredTensor]:
    if depth > MOST_DEPTH:
        raise ClaimError(f"nests its structures more than {MOST_DEPTH} deep")
    for key, member in node.members().items():
        if key.startswith(HIDDEN) or member.address in seen:
            continue
        seen.add(member.address)
        name = f"{prefix}{key}"
        dataset = member.dataset()
        if dataset is None:
            yield from _tensors(member, f"{name}.", left_out, seen, depth + 1)
        elif not NOT_NUMBERS.isdisjoint(member.texts().get(CLASS, [])):
            left_out.append(name)
        else:
            yield _reversed(tensor_of(member.file, name, dataset, Hints()))


def _reversed(tensor: StoredTensor) -> StoredTensor:
    """Return a tensor with its axes in MATLAB's order, and biases with one axis."""
    values = tensor.values
    turned = axes_of(tensor.name, tensor.shape[::-1])
    if isinstance(values, Extent):
        strides = tuple(math.prod(turned[:axis]) for axis in range(len(turned)))
        placed = replace(values, shape=turned, strides=strides if len(turned) > 1 else None)
        return replace(tensor, values=placed)
    load = partial(_turned, values.load, turned)
    return replace(tensor, values=HiddenValues(load, values.dtype, turned))


def _turned(load: Callable[[], Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = load()
    return values.T if values.ndim == len(shape) else values.reshape(shape)
