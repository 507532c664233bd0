"""The header of an analysis: the run, its parameters, and how the analysis was made.

The header is plain JSON in the attributes of the store, so that any Zarr reader can show it.
It holds no time stamp: the same checkpoints give the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.arguments import brief, whole
from accweight_core.errors import StoreError, UnknownNameError
from accweight_core.gc_paused import gc_paused
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import metrics_from
from accweight_core.naming import parameter_called
from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.packing import Pack, is_small, planned_packs
from accweight_core.pictures.plan import PicturePlan
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Layer, Parameter, Restart, Role, Run, TypeChange, type_changes
from accweight_core.store.records import (
    FORMAT_VERSION,
    PACKED_VERSION,
    UNPACKED_VERSION,
    CheckpointRecord,
    Maximum,
    checked_header,
)


@dataclass(frozen=True)
class Header:
    """Everything in an analysis except its arrays.

    Attributes:
        source: The source that the user gave.
        reader: Name of the reader.
        checkpoints: Records of the checkpoints, in step order.
        parameters: The measured parameters, in network order.
        roles: Roles that count in layers and rankings.
        picture_bases: Finest stored picture level per parameter; empty without pictures.
        keeps_state: Whether the state that appending needs is stored.
        notes: Remarks made while the run was opened.
        warnings: Suspicious observations (probable restarts), with figures.
        maximum: Largest element of A_T; None until complete, or if nothing is measured.
        complete: Whether every parameter is finished.
        versions: Versions of Python and of the libraries that wrote it.
        name_map: Content of the map file, needed to read the checkpoints again.
        packs: Positions of the small parameters that are walked and stored together; stores of
            older versions have no packs.
        sums: Names of the stored partial sums, in column order.
        type_changes: Where the element type of parameters changes; stored if there are any.
        follows: Digest of the sums of the step before, in the header of steps that are being added
            to an analysis.
        restart: What it follows, if its job was started again from an earlier step.
    """

    source: str
    reader: str
    checkpoints: tuple[CheckpointRecord, ...]
    parameters: tuple[Parameter, ...]
    roles: tuple[Role, ...]
    picture_bases: tuple[int, ...] = ()
    keeps_state: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    maximum: Maximum | None = None
    complete: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    name_map: Mapping[str, Any] = field(default_factory=dict)
    packs: tuple[tuple[int, ...], ...] = ()
    sums: tuple[str, ...] = SUMS
    type_changes: tuple[TypeChange, ...] = ()
    follows: str = ""
    restart: Restart | None = None

    @classmethod
    def of(cls, run: Run, parameters: tuple[Parameter, ...], roles: tuple[Role, ...]) -> Header:
        """Return the header of a run before anything is measured."""
        return cls(
            source=run.source,
            reader=run.reader,
            checkpoints=tuple(CheckpointRecord.of(c) for c in run.checkpoints),
            parameters=parameters,
            roles=roles,
            notes=run.notes,
            versions=versions(),
            name_map=run.name_map,
            restart=run.restart,
            type_changes=type_changes(run.checkpoints, [p.name for p in parameters], None),
        )

    @cached_property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps, ascending."""
        return np.array([c.step for c in self.checkpoints], dtype=np.int64)

    @property
    def last_step(self) -> int:
        """The last step, without the list of all."""
        return self.checkpoints[-1].step

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that its sums allow, in the order of tables."""
        return metrics_from(self.sums)

    @cached_property
    def measures(self) -> dict[str, npt.NDArray[np.float64]]:
        """Training figures by name, one per step; NaN where there is none, or no finite one."""
        names = dict.fromkeys(
            name for c in self.checkpoints for name in (*c.measures, *c.nonfinite_measures)
        )
        return {
            name: np.array([c.measures.get(name, np.nan) for c in self.checkpoints], np.float64)
            for name in names
        }

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers in network order."""
        members: dict[str, list[Parameter]] = {}
        for parameter in self.parameters:
            members.setdefault(parameter.layer, []).append(parameter)
        return tuple(Layer(name, group[0].kind, tuple(group)) for name, group in members.items())

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {parameter.name: index for index, parameter in enumerate(self.parameters)}

    def parameter_index(self, name: str) -> int:
        """Return the position of a parameter, by its name or the name of its layer.

        Raises:
            UnknownNameError: If no such parameter was measured, or the layer has several; the
                message lists them.
        """
        if name not in self._positions:
            name = parameter_called(name, self.parameters).name
        return self._positions[name]

    def step_index(self, step: int | None) -> int:
        """Return the index of a step; of the last step for None.

        Raises:
            UnknownNameError: If the run has no such step.
        """
        if step is None:
            return len(self.steps) - 1
        number = whole(step)
        found = np.flatnonzero(self.steps == number)
        if number is None or not found.size:
            known = ", ".join(map(str, self.steps[:12])) + (", ..." if len(self.steps) > 12 else "")
            raise UnknownNameError(f"the run has no step {brief(step)}; its steps are {known}")
        return int(found[0])

    def checkpoint_index(self, number: int) -> int:
        """Return a number of a checkpoint, from 0, or from -1 backwards, after a check.

        Raises:
            UnknownNameError: If the run has no such checkpoint.
        """
        place, count = whole(number), len(self.checkpoints)
        if place is None or not -count <= place < count:
            raise UnknownNameError(
                f"the run has no checkpoint {brief(number)}; it has {count}, counted from 0"
            )
        return place

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """Layout of every parameter."""
        return tuple(layout_of(parameter) for parameter in self.parameters)

    def plan(self, index: int) -> PicturePlan:
        """Return the plan of the stored picture levels of a parameter."""
        return PicturePlan(self.layouts[index], self.picture_bases[index], len(self.checkpoints))

    @property
    def last_types(self) -> dict[str, str]:
        """Element types at the last step, by name of the parameter."""
        types = {parameter.name: parameter.dtype for parameter in self.parameters}
        for change in self.type_changes:
            types |= dict.fromkeys(change.parameters, change.after)
        return types

    def up_to(self, steps: int) -> Header:
        """Return the header as it was after some of its steps, apart from what was found in them.

        Args:
            steps: How many of them, at least 1.
        """
        checkpoints = self.checkpoints[:steps]
        last = checkpoints[-1].step
        changes = tuple(change for change in self.type_changes if change.step <= last)
        return replace(self, checkpoints=checkpoints, type_changes=changes)

    def with_packs(self) -> Header:
        """Return the header of the same work with small parameters packed.

        Which parameters are small depends on their stored pictures, so on the header alone.
        """
        texels = [parameter.elements for parameter in self.parameters]
        if self.picture_bases:
            texels = [
                layout.rows * layout.cols if not base and is_small(layout) else 0
                for layout, base in zip(self.layouts, self.picture_bases, strict=True)
            ]
        return replace(self, packs=planned_packs(texels, len(self.checkpoints)))

    def pack(self, number: int) -> Pack:
        """Return a pack with its members and their layouts."""
        members = self.packs[number]
        return Pack(number, members, tuple(self.layouts[index] for index in members))

    @cached_property
    def packed(self) -> dict[int, tuple[int, int]]:
        """Pack number and first texel of each packed picture, by parameter."""
        packs = map(self.pack, range(len(self.packs) if self.picture_bases else 0))
        return {
            index: (pack.number, first)
            for pack in packs
            for index, first in zip(pack.members, pack.starts[:-1], strict=True)
        }

    def same_work(self, other: Header, *, rewritten: bool = False) -> bool:
        """Tell whether both headers describe the same measurements of the same files.

        Weights in memory have no size and date to compare, so they never count as the same.

        Args:
            other: Another header.
            rewritten: Whether files count as the same even if they were rewritten.
        """
        if self.reader == "memory":
            return False
        return self._identity(rewritten) == other._identity(rewritten)

    def _identity(self, rewritten: bool) -> Header:
        """Return the header with only the fields that identify the work.

        Training figures are left out, as a new version may read more of them, and so are the
        projections and heads: they change no number.
        """
        checkpoints = tuple(
            replace(c, measures={}, nonfinite_measures={}) for c in self.checkpoints
        )
        if rewritten:
            checkpoints = tuple(replace(c, size_bytes=0, changed_ns=0) for c in checkpoints)
        plain = tuple(
            replace(p, split=None, axes_from="") if p.split or p.axes_from else p
            for p in self.parameters
        )
        blank = replace(
            self, checkpoints=checkpoints, parameters=plain, source="", notes=(), warnings=()
        )
        return replace(
            blank, maximum=None, complete=False, versions={}, packs=(), sums=(), type_changes=()
        )

    @property
    def _format(self) -> int:
        """The least format that versions must know to read an analysis without segments."""
        if not self.picture_bases:
            return UNPACKED_VERSION
        packed = {index for members in self.packs for index in members}
        is_larger = any(p.elements and i not in packed for i, p in enumerate(self.parameters))
        return FORMAT_VERSION if is_larger else PACKED_VERSION

    @gc_paused()
    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(replace(self, parameters=(), picture_bases=(), packs=()))
        for name in ("type_changes", "follows", "restart"):
            if not plain[name]:
                del plain[name]
        for record in plain["checkpoints"]:
            for name in ("copy", "nonfinite_measures"):
                if not record[name]:
                    del record[name]
        return {
            "format": self._format,
            **plain,
            "parameters": [_record(parameter) for parameter in self.parameters],
            "picture_bases": self.picture_bases,
            "packs": self.packs,
        }

    @classmethod
    @gc_paused()
    def from_json(cls, document: Any, path: str) -> Header:
        """Return the header that `to_json` wrote.

        Raises:
            StoreError: If it is damaged, or has a newer format.
        """
        try:
            cls._check_format(document, path)
            found = checked_header(document)
        except ValueError as error:
            raise StoreError(
                f"{path}: the header of the analysis is damaged ({error}); analyse the checkpoints "
                "again, with --overwrite"
            ) from error
        return cls(**{name: getattr(found, name) for name in found.__struct_fields__})

    @staticmethod
    def _check_format(document: Any, path: str) -> None:
        """Raise StoreError for a newer format, and ValueError if there is no valid format."""
        written = document.get("format") if isinstance(document, dict) else None
        if type(written) is not int or not 0 < written < 1 << 31:
            got = "something else" if isinstance(written, (dict, list)) else f"{written!r:.40}"
            raise ValueError(f"expected a format from 1 to {FORMAT_VERSION}, got {got}")
        if written > FORMAT_VERSION:
            raise StoreError(
                f"{path}: written by a newer accweight (analysis format {written}, this one reads "
                f"up to {FORMAT_VERSION}); upgrade accweight to open it"
            )


def _record(parameter: Parameter) -> dict[str, Any]:
    record = {name: getattr(parameter, name) for name in _PARAMETER_FIELDS}
    if parameter.split:
        record["split"] = asdict(parameter.split)
    if parameter.axes_from:
        record["axes_from"] = parameter.axes_from
    return record


_RARE = ("split", "axes_from")
"""Fields that most parameters lack; they are left out of the record where they are empty."""

_PARAMETER_FIELDS = tuple(f.name for f in fields(Parameter) if f.name not in _RARE)


def versions() -> dict[str, str]:
    """Return the versions of accweight, numpy, Python, and of torch if it is installed."""
    return dict(_installed())


@cache
def _installed() -> Mapping[str, str]:
    """Return the same, read once per process: looking them up takes as long as a small run."""
    from importlib.metadata import PackageNotFoundError, version  # not needed to open an analysis

    packages = {name: version(name) for name in ("accweight", "numpy")}
    with suppress(PackageNotFoundError):
        packages["torch"] = version("torch")
    return {**packages, "python": platform.python_version()}
