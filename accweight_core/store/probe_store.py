"""Results of a probe in an analysis: ``NAME.accw/probes/PROBE-DIGEST/``, a Zarr group.

    probes/evaluate-3f2a90c1d7e4/   attributes: what was asked, and the steps that are finished
      loss                          (step,): a chunk per step, so that a step is one new file
      confusion                     (step, class, class)

The axis "step" has all steps of the run, in order; those that were not probed are missing chunks,
which are NaN (0 in pictures). A step is finished when the attributes say so, which are written
after its arrays; a killed process leaves the steps before. When the run grows, so does the axis.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from accweight_core.errors import StoreError
from accweight_core.store.arrays import array_in, damaged, is_array
from accweight_core.store.documents import METADATA, Integer, Shape, checked, read
from accweight_core.store.files import refuse_links
from accweight_core.store.groups import create_group
from accweight_core.store.probe_pieces import FOLDER as PIECES
from accweight_core.store.zarr_chunks import ChunkedArray

PROBES = "probes"

PROBE = "accweight_probe"
"""Key in the attributes of the group of a probe."""

FORMAT: Final = 1

STEP = "step"

SAMPLES = "sample-pictures"
"""Array of the samples as pictures; no field can have its name."""

MOST_PIXELS = 1 << 26
"""Numbers of all pictures of samples together."""

_NAME = re.compile(r"([a-z][a-z0-9_]{0,47})-([0-9a-f]{12})")

Array = npt.NDArray[Any]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")]


class FieldDocument(Struct, frozen=True):
    """One array of a probe; `shape` has any number for axes called "step"."""

    name: Name
    axes: tuple[str, ...]
    shape: Shape
    dtype: Literal["float32", "float64", "uint8"]
    words: str
    final: bool


class ProbeDocument(Struct, frozen=True):
    """The attributes of the group of a probe.

    Attributes:
        probe: Its name.
        version: Its version.
        options: Its options.
        asked: The text that asks for it, without options of their default value; empty in results
            of older versions.
        steps: Steps of the run: the axis "step".
        finished: Steps that are finished, ascending.
        concluded: Steps that the final arrays were computed from, and those of `broken`.
        broken: Finished steps that have no results, as weights or outputs are not finite there.
        proof: Whether the weights were in their places, by step; empty for weights alone.
        engine: What ran the network; empty for weights alone.
        model: SHA-256 of the network; empty without one.
        data: SHA-256 of the samples; empty without any.
        samples: What the samples are called, how many, and whether they have targets, in words.
        seed: Seed of what is drawn.
        number: How many probes the analysis had before it was begun.
        fields: Its arrays.
        labels: Names of the indices of axes.
        layers: What the run calls layers that the network calls otherwise, by the network's name.
        attributes: Further values of the probe.
        format: Format of the group.
    """

    probe: Name
    version: int
    options: dict[str, Any]
    steps: tuple[Integer, ...]
    fields: tuple[FieldDocument, ...]
    finished: tuple[Integer, ...] = ()
    concluded: tuple[Integer, ...] = ()
    broken: tuple[Integer, ...] = ()
    proof: dict[str, Literal["verified", "consistent", "not verified"]] = {}
    engine: str = ""
    model: str = ""
    data: str = ""
    samples: str = ""
    seed: int = 0
    number: int = 0
    labels: dict[str, tuple[str, ...]] = {}
    layers: dict[str, str] = {}
    attributes: dict[str, Any] = {}
    asked: str = ""
    format: Literal[1] = FORMAT


class ProbeStore:
    """The results of one probe on disk.

    Attributes:
        folder: Folder of its group.
        document: Its attributes.
    """

    def __init__(self, folder: Path, document: ProbeDocument) -> None:
        self.folder = folder
        self.document = document
        self._where = {field.name: field for field in document.fields}

    @classmethod
    def open(cls, analysis: Path, name: str) -> ProbeStore:
        """Open the results of a probe.

        Args:
            analysis: Folder of the analysis.
            name: Folder of the probe in `probes`.

        Raises:
            StoreError: If they are missing or damaged.
        """
        place = f"{PROBES}/{name}"
        refuse_links(analysis, place)
        try:
            found = read(analysis / place / METADATA)
            attributes = found.get("attributes") if isinstance(found, dict) else None
            held = attributes.get(PROBE) if isinstance(attributes, dict) else None
            document = checked(held, ProbeDocument)
            _check(document)
        except FileNotFoundError:
            raise StoreError(f"{analysis}: {place} is damaged: it is missing") from None
        except ValueError as error:
            raise StoreError(f"{analysis}: {place} is damaged ({error})") from error
        return cls(analysis / place, document)

    @classmethod
    def begun(cls, analysis: Path, digest: str, document: ProbeDocument) -> ProbeStore:
        """Create the results of a probe, or go on with those that are there.

        Args:
            analysis: Folder of the analysis.
            digest: What tells probes of one name apart: 12 hexadecimal digits.
            document: The attributes of a new one.

        Raises:
            StoreError: If there are results of another run, or they are damaged.
        """
        name = f"{document.probe}-{digest}"
        if not (analysis / PROBES / name / METADATA).exists():
            refuse_links(analysis, f"{PROBES}/{name}")
            if not (analysis / PROBES / METADATA).exists():
                create_group(analysis / PROBES)
            number = len(probes_in(analysis))
            store = cls(analysis / PROBES / name, msgspec.structs.replace(document, number=number))
            store._create_arrays()
            store._write_document()
            return store
        store = cls.open(analysis, name)
        held = store.document
        if held.steps == document.steps:
            return store
        if held.steps != document.steps[: len(held.steps)]:
            raise StoreError(
                f"{analysis}: {PROBES}/{name} has results of other steps ({len(held.steps)} up to "
                f"{held.steps[-1] if held.steps else 0}); remove that folder"
            )
        store = cls(store.folder, msgspec.structs.replace(held, steps=document.steps, concluded=()))
        store._create_arrays()
        store._write_document()
        return store

    def remove_empty(self) -> None:
        """Remove the results, unless a step, or a piece of what comes in the end, is finished."""
        if not self.document.finished and not (self.folder / PIECES).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def array(self, name: str) -> ChunkedArray:
        """Return an array, to be read in parts.

        Raises:
            StoreError: If it is missing or damaged.
        """
        field = self._where[name]
        found = array_in(self.folder, name)
        shape = self._shape(field)
        if found.shape != shape:
            raise damaged(self.folder, name, shape, found.shape)
        return found  # type: ignore[return-value]  # both kinds are read alike

    def samples(self) -> Array | None:
        """Return (samples, height, width, channels) of bytes: what the probe was shown.

        Returns:
            None if they are not stored: they are no pictures, or too many.

        Raises:
            StoreError: If they are damaged.
        """
        if not is_array(self.folder, SAMPLES):
            return None
        found = array_in(self.folder, SAMPLES)
        shape = found.shape
        if len(shape) != 4 or shape[-1] not in (1, 3) or math.prod(shape) > MOST_PIXELS:
            raise damaged(self.folder, SAMPLES, (0, 0, 0, 1), shape)
        return np.asarray(found[:]).astype(np.uint8)

    def write_samples(self, pictures: Array) -> None:
        """Keep the samples as pictures, unless they are there.

        Args:
            pictures: (samples, height, width, channels) of bytes, with 1 or 3 channels.
        """
        if is_array(self.folder, SAMPLES):
            return
        array = ChunkedArray(self.folder / SAMPLES, pictures.shape, pictures.shape, "uint8")
        os.makedirs(array.path, exist_ok=True)
        array.write([0] * 4, pictures)
        array.create()

    def place_of(self, step: int) -> int:
        """Return the index of a step along the axis "step"."""
        return self.document.steps.index(step)

    def write_step(self, step: int, values: Mapping[str, Array], proof: str = "") -> None:
        """Write the arrays of a step, then that it is finished.

        Args:
            step: The step.
            values: By name, without the axis "step".
            proof: Whether the weights were in their places; empty for weights alone.

        Raises:
            ValueError: If an array is missing, or has another shape than the fields say.
        """
        place, per_step = self.place_of(step), [f for f in self.document.fields if not f.final]
        _check_names(per_step, values)
        for field in per_step:
            value, shape = np.asarray(values[field.name]), self._shape(field)[1:]
            if value.shape != shape:
                raise ValueError(f"array {field.name!r} has shape {value.shape}, not {shape}")
            start = (place, *[0] * len(shape))
            self._chunked(field).write(start, value[None])
        done = tuple(sorted({*self.document.finished, step}))
        proofs = {**self.document.proof, **({str(step): proof} if proof else {})}
        self.document = msgspec.structs.replace(self.document, finished=done, proof=proofs)
        self._write_document()

    def write_broken(self, step: int) -> None:
        """Write that a step is finished, and has no results: its numbers are missing.

        If it had results, so have the final arrays, which are to be computed again.
        """
        had = step in self.steps
        done = tuple(sorted({*self.document.finished, step}))
        broken = tuple(sorted({*self.document.broken, step}))
        concluded = () if had else self.document.concluded
        self.document = msgspec.structs.replace(
            self.document, finished=done, broken=broken, concluded=concluded
        )
        self._write_document()

    @property
    def steps(self) -> tuple[int, ...]:
        """The finished steps that have results, ascending."""
        return tuple(s for s in self.document.finished if s not in self.document.broken)

    def write_final(
        self, values: Mapping[str, Array], labels: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        """Write the final arrays, computed from all finished steps.

        Args:
            values: By name; axes called "step" have the finished steps that have results.
            labels: Names of the indices of axes that are known by now.

        Raises:
            ValueError: If an array is missing, or has another shape than the fields say.
        """
        final = [field for field in self.document.fields if field.final]
        _check_names(final, values)
        places = [self.place_of(step) for step in self.steps]
        for field in final:
            whole = self._spread(field, np.asarray(values[field.name]), places)
            array = self._chunked(field)
            if array.shape:
                array.write([0] * len(array.shape), whole)
        self.document = msgspec.structs.replace(
            self.document,
            concluded=self.document.finished,
            labels={**self.document.labels, **(labels or {})},
        )
        self._write_document()

    def write_nothing(self) -> None:
        """Write that no finished step has results: the final arrays stay missing."""
        self.document = msgspec.structs.replace(self.document, concluded=self.document.finished)
        self._write_document()

    def _spread(self, field: FieldDocument, value: Array, places: Sequence[int]) -> Array:
        """Return an array with all steps of the run along axes called "step"."""
        shape = self._shape(field)
        given = tuple(
            len(places) if axis == STEP else n for axis, n in zip(field.axes, shape, strict=True)
        )
        if value.shape != given:
            raise ValueError(f"array {field.name!r} has shape {value.shape}, not {given}")
        whole = np.full(shape, 0 if field.dtype == "uint8" else np.nan, field.dtype)
        indices = [
            places if axis == STEP else range(n) for axis, n in zip(field.axes, shape, strict=True)
        ]
        whole[np.ix_(*indices)] = value
        return whole

    def _shape(self, field: FieldDocument) -> tuple[int, ...]:
        steps = len(self.document.steps)
        return tuple(
            steps if axis == STEP else n for axis, n in zip(field.axes, field.shape, strict=True)
        )

    def _chunked(self, field: FieldDocument) -> ChunkedArray:
        shape = self._shape(field)
        chunk = tuple(max(n, 1) for n in shape)
        if not field.final:
            chunk = (1, *chunk[1:])
        return ChunkedArray(self.folder / field.name, shape, chunk, field.dtype)

    def _create_arrays(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        for field in self.document.fields:
            self._chunked(field).create(attributes={"axes": list(field.axes), "words": field.words})

    def _write_document(self) -> None:
        create_group(self.folder, {PROBE: msgspec.to_builtins(self.document)})


def probes_in(analysis: Path) -> list[str]:
    """Return the folders of the probes of an analysis, sorted."""
    try:
        refuse_links(analysis, PROBES)
        names = os.listdir(analysis / PROBES)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if _NAME.fullmatch(name))


def _check_names(fields: Sequence[FieldDocument], values: Mapping[str, Array]) -> None:
    wanted, got = [field.name for field in fields], list(values)
    if sorted(wanted) != sorted(got):
        raise ValueError(f"expected the arrays {wanted}, got {got}")


def _check(document: ProbeDocument) -> None:
    """Raise a ValueError unless the attributes agree with each other."""
    steps = document.steps
    done = {*document.finished, *document.broken}
    if list(steps) != sorted(set(steps)) or not done <= set(steps):
        raise ValueError("its steps are not in order, or others are finished")
    if len({field.name for field in document.fields}) < len(document.fields):
        raise ValueError("two arrays have one name")
    for field in document.fields:
        is_per_step = not field.final and field.axes[:1] != (STEP,)
        if len(field.axes) != len(field.shape) or not field.axes or is_per_step:
            raise ValueError(f"array {field.name!r} has the axes {field.axes}")
        if math.prod(field.shape) > 2**40:
            raise ValueError(f"array {field.name!r} is too large")
    for axis, names in document.labels.items():
        lengths = {
            n
            for field in document.fields
            for found, n in zip(field.axes, field.shape, strict=True)
            if found == axis
        }
        if lengths - {len(names)}:
            raise ValueError(f"axis {axis!r} has {len(names)} names")
