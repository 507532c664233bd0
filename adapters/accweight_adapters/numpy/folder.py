"""Describe a folder of `.npy` files as one checkpoint: a parameter per file, `step_1/layer/W.npy`.

The parameter's name is the path of its file below the folder, without the ending and with dots
between. A scalar called step or loss is taken as such, as in archives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from accweight_adapters.measures import measures_in
from accweight_adapters.numpy.description import ADVICE, ARRAY_SUFFIX, FORMAT, Array, tensors_of
from accweight_adapters.numpy.header import MOST_HEADER_BYTES, array_header
from accweight_adapters.untrusted import (
    STEP_KEYS,
    ClaimError,
    checked_name,
    claims_of,
    quoted_few,
    step_among,
)
from accweight_core.dtypes import DTYPES
from accweight_core.naming import natural_key
from accweight_core.schema import Description

DEEPEST: Final = 6
MOST_FILES: Final = 100_000
"""Limits of the search in one folder."""


def recognised_folder(folder: Path) -> bool:
    """Tell whether a folder holds NumPy arrays, at any depth within the limits."""
    try:
        return folder.is_dir() and next(_array_files(folder, DEEPEST), None) is not None
    except OSError:  # a server that does not answer
        return False


def described_folder(folder: Path) -> Description:
    """Describe the arrays in a folder, in the natural order of their names.

    Raises:
        FormatError: If a file is damaged, or none holds numbers.
    """
    files = sorted(_array_files(folder, DEEPEST), key=lambda file: natural_key(str(file)))
    if len(files) > MOST_FILES:
        with claims_of(folder, FORMAT):
            raise ClaimError(f"holds more than {MOST_FILES:,} arrays")
    arrays, strange = [], []
    for file in files:
        array = _array_at(file, folder)
        if array.header.problem:
            strange.append((array.name, array.header.problem))
        else:
            arrays.append(array)
    notes = [
        f"left out {quoted_few([name for name, why in strange if why == problem])}: {problem}"
        for problem in dict.fromkeys(why for _, why in strange)
    ]
    numbers = {array.name: _number_at(array) for array in arrays if _may_be_figure(array)}
    measures = measures_in(numbers)
    step, key = step_among(numbers) or (None, "")
    beside = {*measures, *numbers.keys() & {*STEP_KEYS}}
    kept = [array for array in arrays if array.name not in beside]
    if not kept:
        with claims_of(folder, FORMAT):
            raise ClaimError(f"holds no arrays of numbers; {'; '.join(notes) or ADVICE}")
    return Description(
        format="NumPy arrays",
        tensors=tensors_of(kept),
        step=step,
        step_key=key,
        files=tuple(map(str, files)),
        notes=tuple(notes),
        measures={name: value for name, value in measures.items() if name != key},
    )


def _array_files(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the arrays in a folder and in those below it; links to folders are not followed."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name.lower().endswith(ARRAY_SUFFIX):
            if entry.is_file():
                yield entry
        elif levels and entry.is_dir() and not entry.is_symlink():
            yield from _array_files(entry, levels - 1)


def _array_at(file: Path, folder: Path) -> Array:
    """Return one array: its header, and where it lies.

    Raises:
        FormatError: If it is damaged.
    """
    name = ".".join(file.parts[len(folder.parts) :])[: -len(ARRAY_SUFFIX)]
    with claims_of(file, FORMAT), file.open("rb") as opened:
        header = array_header(opened.read(MOST_HEADER_BYTES))
        needed = header.size_bytes + header.data_bytes
        size_bytes = opened.seek(0, os.SEEK_END)
        if not header.problem and needed != size_bytes:
            raise ClaimError(
                f"an array of shape {header.shape} and type {header.dtype} needs {needed} bytes "
                f"with its header, it has {size_bytes}; it is cut short or damaged"
            )
        return Array(checked_name(name), header, file, header.size_bytes)


def _may_be_figure(array: Array) -> bool:
    """Tell whether an array is a number that may be a step or a loss."""
    header = array.header
    is_number = header.dtype != "bfloat16" and DTYPES[header.dtype].family in ("float", "integer")
    return is_number and not header.shape and "." not in array.name


def _number_at(array: Array) -> float | int:
    header = array.header
    with claims_of(array.path, FORMAT), array.path.open("rb") as file:
        file.seek(array.offset)
        dtype = np.dtype(header.dtype).newbyteorder(">" if header.big_endian else "<")
        number: float | int = np.frombuffer(file.read(header.data_bytes), dtype)[0].item()
        return number
