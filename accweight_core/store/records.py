"""Records in the header of an analysis, and the checks of a header that is read from a file.

A header is untrusted input: it may come from another program or a later version, or be forged.
All that other code relies on is checked here: types, ranges, and that the fields are consistent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from accweight_core.dtypes import DTYPES
from accweight_core.metrics.sums import FIRST_SUMS
from accweight_core.remote import is_url
from accweight_core.schema import (
    Axis,
    Checkpoint,
    Parameter,
    Restart,
    Role,
    Split,
    TypeChange,
    Word,
    figures_from,
)
from accweight_core.store.documents import Integer, Length, Shape, checked

FORMAT_VERSION = 4
"""Increased when older versions could misread a store: since 2, small pictures may be in packs;
since 3, steps may have been added in segments; since 4, the levels of a picture share an array."""

PACKED_VERSION = 2
"""Format of stores without segments and larger pictures, which older versions can read."""

UNPACKED_VERSION = 1
"""Format of stores without segments and pictures."""

MOST_ELEMENTS = 1 << 53
"""Limit of elements of all parameters: positions are counted in float64."""

LONGEST_NAME = 255
"""Limit of characters in the name of a file."""

MOST_NESTED = 8
"""Limit of nested levels in a name map."""


LIVE = "live"
"""Format of the records of steps that were measured while training, without a checkpoint."""


@dataclass(frozen=True)
class Maximum:
    """The largest element of A_T over all shown layers, and its index."""

    layer: str
    parameter: str
    index: tuple[Length, ...]
    value: float


@dataclass(frozen=True)
class NonFinite:
    """A parameter that has held NaN or infinity.

    Attributes:
        parameter: Its index.
        most: Most such elements at a step.
        checkpoints: Number of checkpoints with such elements.
        first: Position of the first of them.
    """

    parameter: Length
    most: Length
    checkpoints: Length
    first: Length


@dataclass(frozen=True)
class CheckpointRecord:
    """The checkpoint file of one step, and the training figures stored with it.

    `copy` is the key of the averaged copy in it that was analysed, empty for the model itself.
    Figures that are NaN or infinite are in `nonfinite_measures`, which older versions ignore.
    """

    path: Annotated[str, Meta(min_length=1)]
    step: Integer
    step_source: str
    format: str
    size_bytes: Length
    changed_ns: int
    measures: Mapping[str, float] = field(default_factory=dict)
    copy: str = ""
    nonfinite_measures: Mapping[str, Word] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, float]:
        """All training figures as numbers, also those that are not finite."""
        return figures_from(self.measures, self.nonfinite_measures)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> CheckpointRecord:
        """Return the record of a checkpoint, with an absolute path."""
        is_local = checkpoint.size_bytes and not is_url(checkpoint.path)
        path = str(Path(checkpoint.path).absolute()) if is_local else checkpoint.path
        return cls(
            path=path,
            step=checkpoint.step,
            step_source=checkpoint.step_source,
            format=checkpoint.format,
            size_bytes=checkpoint.size_bytes,
            changed_ns=checkpoint.changed_ns,
            measures=checkpoint.measures,
            copy=checkpoint.copy,
            nonfinite_measures=checkpoint.nonfinite_measures,
        )


class HeaderDocument(Struct, frozen=True):
    """The attributes of an analysis; fields that older versions did not write have defaults.

    Unknown fields, of newer versions, are ignored.
    """

    source: str
    reader: str
    checkpoints: Annotated[tuple[CheckpointRecord, ...], Meta(min_length=1)]
    parameters: tuple[Parameter, ...]
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)]
    picture_bases: tuple[Annotated[int, Meta(ge=0, le=63)], ...]
    keeps_state: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    maximum: Maximum | None
    complete: bool
    versions: dict[str, str]
    name_map: dict[str, Any] = {}
    packs: tuple[Annotated[tuple[int, ...], Meta(min_length=1)], ...] = ()
    sums: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)] = FIRST_SUMS
    type_changes: tuple[TypeChange, ...] = ()
    follows: str = ""
    restart: Restart | None = None


class SegmentDocument(Struct, frozen=True):
    """What the steps of a segment add to the header before them.

    Attributes:
        checkpoints: Their checkpoints.
        reader: Names of the readers of all checkpoints up to here.
        notes: Further notes.
        kept_warnings: How many of the warnings before, the first ones, still hold.
        warnings: Further warnings.
        maximum: Largest element of A_t after the last step.
        versions: Versions of what wrote the segment.
        name_map: Content of the map file, if there was none before.
        type_changes: Where the element type of parameters changes in these steps.
        picture_bases: Finest stored picture level per parameter.
        packs: Positions of the parameters of each pack.
        nonfinite: Parameters that have held NaN or infinity up to here.
        follows: Digest of the sums of the step before the first one.
    """

    checkpoints: Annotated[tuple[CheckpointRecord, ...], Meta(min_length=1)]
    reader: str
    notes: tuple[str, ...]
    kept_warnings: Length
    warnings: tuple[str, ...]
    maximum: Maximum | None
    versions: dict[str, str]
    name_map: dict[str, Any]
    type_changes: tuple[TypeChange, ...]
    picture_bases: tuple[Annotated[int, Meta(ge=0, le=63)], ...]
    packs: tuple[Annotated[tuple[int, ...], Meta(min_length=1)], ...]
    nonfinite: tuple[NonFinite, ...]
    follows: str


class Described(Protocol):
    """A header, whatever it was read from."""

    @property
    def checkpoints(self) -> tuple[CheckpointRecord, ...]:
        """Records of the checkpoints."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The measured parameters."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """Roles that count."""

    @property
    def picture_bases(self) -> tuple[int, ...]:
        """Finest stored picture levels."""

    @property
    def maximum(self) -> Maximum | None:
        """Largest element of A_T."""

    @property
    def complete(self) -> bool:
        """Whether every parameter is finished."""

    @property
    def packs(self) -> tuple[tuple[int, ...], ...]:
        """Parameters of each pack."""

    @property
    def sums(self) -> tuple[str, ...]:
        """Names of the stored sums."""

    @property
    def type_changes(self) -> tuple[TypeChange, ...]:
        """Where element types change."""


def checked_header(found: Any) -> HeaderDocument:
    """Return a header read from a file, checked.

    Raises:
        ValueError: If it is damaged.
    """
    document = checked(found, HeaderDocument)
    _check_parameters(document.parameters)
    check_steps(document)
    check_pictures(document)
    if len(set(document.sums)) < len(document.sums):
        raise ValueError("the sums are not different names")
    if document.restart is not None:
        _check_restart(document.restart)
    if _depth(document.name_map) > MOST_NESTED:
        raise ValueError(f"the map of names is nested more than {MOST_NESTED} levels deep")
    return document


def check_steps(header: Described, after: Described | None = None) -> None:
    """Raise ValueError unless what a header says of its steps is consistent.

    Args:
        header: The header.
        after: The header of its first steps, which was checked: only what follows is looked at.
    """
    steps, changes = (len(after.checkpoints), len(after.type_changes)) if after else (0, 0)
    _check_checkpoints(header.checkpoints[max(steps - 1, 0) :])
    _check_maximum(header)
    _check_type_changes(header, header.type_changes[changes:])


def check_pictures(header: Described) -> None:
    """Raise ValueError unless what a header says of its pictures is consistent."""
    if len(header.picture_bases) not in (0, len(header.parameters)):
        raise ValueError("pictures and parameters differ in number")
    _check_packs(header)


def _check_checkpoints(records: Sequence[CheckpointRecord]) -> None:
    steps = [record.step for record in records]
    if steps != sorted(steps):
        raise ValueError("the steps do not ascend")
    measured = [record.measures for record in records if record.measures]
    if not all(math.isfinite(value) for measures in measured for value in measures.values()):
        raise ValueError("a measure is not a finite number")


def _check_restart(restart: Restart) -> None:
    for step in (restart.last_step, restart.first_step):
        checked(step, Integer)
    if not 0 < len(restart.after) <= LONGEST_NAME or "/" in restart.after:
        raise ValueError(f"it goes on from {restart.after[:40]!r}, which is no name of a file")


def _check_parameters(parameters: Sequence[Parameter]) -> None:
    if len({parameter.name for parameter in parameters}) < len(parameters):
        raise ValueError("two parameters have one name")
    for shape, axes in {(parameter.shape, len(parameter.axes)) for parameter in parameters}:
        checked(shape, Shape)
        if len(shape) != axes:
            raise ValueError(f"a parameter of shape {shape} has {axes} axes")
    if sum(parameter.elements for parameter in parameters) > MOST_ELEMENTS:
        raise ValueError(f"the parameters have more than {MOST_ELEMENTS} elements")
    for shape, split in {(parameter.shape, parameter.split) for parameter in parameters}:
        _check_split(shape, split)
    unknown = {parameter.dtype for parameter in parameters} - DTYPES.keys()
    if unknown:
        raise ValueError(f"a parameter has elements of an unknown type, {min(unknown)!r}")


def _check_split(shape: tuple[int, ...], split: Split | None) -> None:
    if split is None:
        return
    numbers = [split.groups, *(part.size for part in split.parts)]
    if min(numbers) < 1 or max(numbers) > MOST_ELEMENTS or not split.parts:
        raise ValueError("a parameter is divided into parts of no size")
    for part in split.parts:
        if part.heads < 0 or (part.heads and part.size % part.heads):
            raise ValueError(f"{part.size} indices cannot be {part.heads} heads")
    if split.size > math.prod(shape) or split.along not in (Axis.OUTPUT, Axis.INPUT):
        raise ValueError(f"a parameter of shape {shape} cannot have parts of {split.size} indices")


def _check_packs(document: Described) -> None:
    members = [index for pack in document.packs for index in pack]
    bases = document.picture_bases or [0] * len(document.parameters)
    if not all(0 <= i < len(bases) and bases[i] == 0 for i in members):
        raise ValueError("a pack holds something else than small parameters")
    if len(set(members)) < len(members):
        raise ValueError("a parameter lies in two packs")


def _check_type_changes(document: Described, changes: Sequence[TypeChange]) -> None:
    if not changes:
        return
    steps = {record.step for record in document.checkpoints}
    names = {parameter.name for parameter in document.parameters}
    for change in changes:
        if change.step not in steps or not names.issuperset(change.parameters):
            raise ValueError("an element type changes at no step, or of no parameter")


def _check_maximum(document: Described) -> None:
    largest = document.maximum
    if largest is None:
        if document.complete and _is_measured(document):
            raise ValueError("the maximum is missing")
        return
    counted = (p for p in document.parameters if p.role in document.roles)
    shape = next((p.shape for p in counted if _is_of(p, largest)), None)
    if shape is None:
        raise ValueError("the maximum lies in no parameter that counts")
    inside = all(at < length for at, length in zip(largest.index, shape, strict=False))
    if len(largest.index) != len(shape) or not inside or not largest.value >= 0:
        raise ValueError(f"the maximum cannot be {largest.value} at {largest.index} of {shape}")


def _is_of(parameter: Parameter, largest: Maximum) -> bool:
    return (parameter.name, parameter.layer) == (largest.parameter, largest.layer)


def _is_measured(document: Described) -> bool:
    """Tell whether there are elements that can have a maximum."""
    counted = (p for p in document.parameters if p.role in document.roles and p.elements)
    return "path_max" in document.sums and any(counted)


def _depth(value: object) -> int:
    """Return the nesting depth of plain values."""
    deepest, level = 0, [value]
    while level and deepest <= MOST_NESTED:
        deepest += 1
        level = [inner for outer in level for inner in _inner(outer)]
    return deepest


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
