"""Object arrays: NumPy stores them as a pickle, which may hold arrays: one per layer, or a dict.

The pickle is interpreted like every other (`accweight_adapters.pickles`); nothing in it is built.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import IO, Final, cast

from accweight_adapters.bytes.inflated_file import InflatedFile
from accweight_adapters.bytes.source import InflatedPart
from accweight_adapters.bytes.stretch import Stretch, StretchFile
from accweight_adapters.bytes.zip import Member
from accweight_adapters.keras_hints import with_keras_hints
from accweight_adapters.measures import measures_in
from accweight_adapters.numbered import with_numbered_hints
from accweight_adapters.pickles.interpreter import Interpreter
from accweight_adapters.pickles.places import Place, stored_array
from accweight_adapters.pickles.stream import PickleStream, most_operations
from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.pickles.values import ArrayClaim
from accweight_adapters.pickles.weights import find_step, find_weights
from accweight_core.schema import Description, StoredTensor

NO_WEIGHTS: Final = "holds no weights"
MOST_READ: Final = 1 << 25
"""Most bytes of a compressed pickle that are not arrays."""

WINDOW_BYTES: Final = 1 << 13


def described_objects(path: Path, file: IO[bytes], start: int) -> Description:
    """Describe the arrays in the pickle of a `.npy` file, which begins at a byte.

    Raises:
        ClaimError: If it holds no arrays, or is damaged.
    """
    file.seek(start)
    content = Interpreter(PickleStream(file)).load()
    weights = find_weights(content)
    step, key = find_step(content) or (None, "")
    place = Place(path)
    tensors = [
        stored_array(name, claim, place)
        for name, claim in weights.tensors.items()
        if isinstance(claim, ArrayClaim)
    ]
    return Description(
        format="NumPy array of objects",
        tensors=with_numbered_hints(with_keras_hints(tensors)),
        step=step,
        step_key=key,
        files=(str(path),),
        notes=tuple(weights.notes),
        measures=measures_in(mapping_of(content)),
    )


def opened_member(
    path: Path, file: IO[bytes], member: Member | None, start: int
) -> tuple[IO[bytes], Place]:
    """Return the pickle in a member of a zip as a file, and where its bytes are.

    Args:
        path: The zip.
        file: The same, open.
        member: The member; None if the whole file is the array.
        start: Offset of the pickle, as if the member were stored.
    """
    if member is None:
        file.seek(start)
        return file, Place(path)
    skipped = start - member.offset
    if member.is_deflated:
        raw: io.RawIOBase = InflatedFile(InflatedPart(path, member), member.size_bytes)
        place = Place(path, member=member, wbits=-zlib.MAX_WBITS)
    else:
        raw = StretchFile(file, Stretch(member.offset, member.stored_bytes))
        place = Place(path, base=member.offset)
    window = cast("IO[bytes]", io.BufferedReader(raw, WINDOW_BYTES))
    window.seek(skipped)
    return window, place


def tensors_in(window: IO[bytes], place: Place) -> tuple[StoredTensor, ...]:
    """Return the arrays in the pickle at the position of a file.

    Raises:
        ClaimError: If it holds none, or is damaged.
    """
    stream = PickleStream(window)
    if place.member:
        stream = PickleStream(window, MOST_READ, most_operations(place.member.stored_bytes))
    weights = find_weights(Interpreter(stream).load())
    return tuple(
        stored_array(name, claim, place)
        for name, claim in weights.tensors.items()
        if isinstance(claim, ArrayClaim)
    )
