"""Results of probes that an analysis holds: arrays by name, and tables of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_names import Documents, fits, names_of, outdated
from accweight_core.arguments import brief, checked_text
from accweight_core.errors import StoreError, UnknownNameError
from accweight_core.store.probe_store import STEP, FieldDocument, ProbeStore, probes_in
from accweight_core.text import meant, some

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

NO_ROWS = (STEP, "component", "bound")
"""Axes that have no rows in tables."""


class ProbeResult:
    """What one probe found at the steps that are finished.

    Attributes:
        older: Folders of results of older versions of the probe, which these take the place of.
    """

    def __init__(self, store: ProbeStore, older: Sequence[Path] = ()) -> None:
        """Use results on disk.

        Args:
            store: The results.
            older: Folders of results of older versions of the probe, which these take the place of.
        """
        self._store, self.older = store, tuple(older)
        document = store.document
        self._places = [store.place_of(step) for step in store.steps]
        self._fields = {field.name: field for field in document.fields}

    def __repr__(self) -> str:
        """Return a one-line summary."""
        named = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"<Probe {self.name}({named}): {len(self.steps)} steps; {self.proof or 'weights'}>"

    @property
    def name(self) -> str:
        """Name of the probe."""
        return self._store.document.probe

    @property
    def path(self) -> Path:
        """Folder of the results."""
        return self._store.folder

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the result itself, in sentences without a full stop."""
        if not self.older:
            return ()
        names = " and ".join(folder.name for folder in self.older)
        told, folders = (
            ("an older result of this, by an earlier version of the probe, is", "folder")
            if len(self.older) == 1
            else ("older results of this, by earlier versions of the probe, are", "folders")
        )
        return (f"{told} not shown; to remove it, delete the {folders} {names} in probes/",)

    @property
    def number(self) -> int:
        """How many results the analysis had before it was begun; tells the order of results."""
        return self._store.document.number

    @property
    def options(self) -> dict[str, Any]:
        """Options of the probe."""
        return dict(self._store.document.options)

    @property
    def asked(self) -> str:
        """The text that asks for it, such as "embedding:method=tsne"; without default options."""
        return self._store.document.asked or self.name

    @property
    def attributes(self) -> dict[str, Any]:
        """Further values that the probe has stored."""
        return dict(self._store.document.attributes)

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """The finished steps that have results, ascending."""
        return np.array(self._store.steps, np.int64)

    @property
    def data(self) -> str:
        """The samples in words, such as "test.npz: 100 samples with labels"; empty without any.

        Results of older versions do not say it.
        """
        return self._store.document.samples

    @property
    def left_out(self) -> str:
        """Which steps have no results, and why, in words; empty if all have."""
        broken = self.broken_steps
        if not broken:
            return ""
        which = f"step{'s' * (len(broken) > 1)} {some(list(map(str, broken)), 6)}"
        return f"no results at {which}: weights or outputs are not finite"

    @property
    def broken_steps(self) -> tuple[int, ...]:
        """Steps without results, as weights or outputs are not finite there."""
        return self._store.document.broken

    @property
    def engine(self) -> str:
        """What ran the network; empty for probes of weights alone."""
        return self._store.document.engine

    @property
    def proof(self) -> str:
        """The weakest proof of all steps that the weights were in their places.

        "verified", "consistent" with a recorded loss, or "not verified"; empty for probes of
        weights alone.
        """
        found = set(self._store.document.proof.values())
        order = ("not verified", "consistent", "verified")
        return next((proof for proof in order if proof in found), "")

    @property
    def fields(self) -> dict[str, FieldDocument]:
        """The arrays by name: their axes, and what they are."""
        return dict(self._fields)

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that are there."""
        is_concluded = self._store.document.concluded == self._store.document.finished
        return tuple(n for n, field in self._fields.items() if is_concluded or not field.final)

    @property
    def samples(self) -> Array | None:
        """(samples, height, width, channels) of bytes: what it was shown; None if not kept.

        Those of the axis "point" or "picture", in its order.

        Raises:
            StoreError: If they are damaged.
        """
        return self._store.samples()

    def labels(self, axis: str) -> tuple[str, ...]:
        """Return the names of the indices along an axis; their numbers if they have none."""
        names = self._store.document.labels.get(axis)
        if names is not None:
            return names
        lengths = (
            n
            for field in self._fields.values()
            for found, n in zip(field.axes, field.shape, strict=True)
            if found == axis
        )
        return tuple(map(str, range(next(lengths, 0))))

    @property
    def layers_of_run(self) -> tuple[str, ...]:
        """The names along the axis "layer", as the run calls these layers."""
        renamed = self._store.document.layers
        return tuple(renamed.get(name, name) for name in self.labels("layer"))

    def array(self, name: str, step: int | None = None) -> Array:
        """Return an array at the finished steps.

        Args:
            name: One of `arrays`.
            step: A finished step, if not all: the array without its axis "step".

        Raises:
            UnknownNameError: If there is no such array or step.
            StoreError: If it is damaged.
        """
        checked_text(name, "an array of a probe")
        if name not in self.arrays:
            listed = ", ".join(self.arrays)
            raise UnknownNameError(
                f"probe {self.name} has no array {brief(name)}; {meant(name, self.arrays)}it has "
                f"{listed}"
            )
        stored, field = self._store.array(name), self._fields[name]
        if step is not None and field.axes[0] == STEP:
            return np.asarray(stored[self._place(step)])
        if field.axes[0] == STEP:
            whole = np.stack([stored[place] for place in self._places] or [stored[:0]])
            whole = whole if self._places else whole[0]
        else:
            whole = np.asarray(stored[tuple(slice(None) for _ in field.axes)])
        for axis, label in enumerate(field.axes[1:], start=1):
            if label == STEP:
                whole = np.take(whole, self._places, axis=axis)
        return whole

    def _place(self, step: int) -> int:
        if step not in self._store.steps:
            steps = self.steps
            listed = f"{steps[0]} to {steps[-1]}" if len(steps) else "none"
            raise UnknownNameError(
                f"probe {self.name} has no step {brief(step)}; {len(steps)} are finished: {listed}"
            )
        return self._store.place_of(step)

    def table(self, per: str | None = None) -> pd.DataFrame:
        """Return a DataFrame of the numbers that the probe found.

        Args:
            per: What has a row: "step", or an axis with a row for each of its indices at every
                step, such as "layer". By default "layer" if there are numbers per layer, else
                "step".

        Raises:
            UnknownNameError: If there are no such numbers.
        """
        import pandas as pd

        axes = self._axes_of_tables()
        chosen = per if per is not None else ("layer" if "layer" in axes else STEP)
        if chosen not in axes and per is not None:
            known = ", ".join(axes) or "none"
            raise UnknownNameError(
                f"probe {self.name} has no numbers per {brief(per)}; {meant(per, axes)}it has "
                f"some per {known}"
            )
        wanted = (STEP,) if chosen == STEP else (STEP, chosen)
        names = [n for n in self.arrays if self._fields[n].axes == wanted]
        labels = self.labels(chosen) if chosen != STEP else ()
        columns: dict[str, Any] = {}
        if labels:
            columns[chosen] = np.tile(np.array(labels, object), len(self.steps))
        columns[STEP] = np.repeat(self.steps, max(len(labels), 1))
        columns |= {name: self.array(name).reshape(-1) for name in names}
        return pd.DataFrame(columns)

    def _axes_of_tables(self) -> list[str]:
        found = []
        for name in self.arrays:
            axes = self._fields[name].axes
            if axes == (STEP,) or (len(axes) == 2 and axes[0] == STEP and axes[1] not in NO_ROWS):
                found.append(axes[-1])
        return list(dict.fromkeys(found))

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of `table` as JSON values; NaN and infinity as None."""
        rows = self.table().to_dict("records")
        return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


class Probes(Mapping[str, ProbeResult]):
    """The results of probes by name, as they are on disk when asked for.

    Those of a probe that was asked for in several ways are told apart by their options, such as
    "embedding:method=tsne" (`accweight_core.analysis.probe_names`). Only the newest is there of
    results that several versions of a probe have computed for the same question.
    """

    def __init__(self, analysis: Path | None) -> None:
        """Use the analysis in a folder; without a folder there are none."""
        self._analysis = analysis

    def __repr__(self) -> str:
        """Return the names."""
        return f"<Probes: {', '.join(self) or 'none'}>"

    def _folders(self) -> dict[str, list[str]]:
        """Return the folders of each probe."""
        found: dict[str, list[str]] = {}
        for folder in [] if self._analysis is None else probes_in(self._analysis):
            found.setdefault(folder.rpartition("-")[0], []).append(folder)
        return found

    def _held(self, probe: str, folders: Sequence[str]) -> _Held:
        """Return the names of the results of one probe; a damaged one has that of its folder."""
        documents, broken = {}, {}
        for folder in folders:
            try:
                documents[folder] = self._store(folder).document
            except (StoreError, OSError):
                broken[folder if len(folders) > 1 else probe] = folder
        old = outdated(documents)
        shown = {folder: one for folder, one in documents.items() if folder not in old}
        names = {name: folder for folder, name in names_of(shown).items()} if shown else {}
        return _Held(names | broken, documents, old)

    @property
    def names(self) -> dict[str, str]:
        """The name of each result, by that of its folder."""
        held = (self._held(probe, folders) for probe, folders in self._folders().items())
        return {folder: name for one in held for name, folder in one.names.items()}

    def __iter__(self) -> Iterator[str]:
        """Yield a name per result, the plain one if a probe was asked for in one way."""
        for probe, folders in self._folders().items():
            yield from (probe,) if len(folders) == 1 else self._held(probe, folders).names

    def __len__(self) -> int:
        """Return the number of results."""
        return sum(1 for _ in self)

    def __getitem__(self, name: str, /) -> ProbeResult:
        """Return a result by its name, by the probe and some options, or by its folder.

        Of several that fit, the latest.

        Raises:
            UnknownNameError: If there is none.
            StoreError: If it is damaged.
        """
        checked_text(name, "a result of a probe")
        held, folder = _Held({}), None
        for probe, folders in self._folders().items():
            if name.startswith(probe):
                held = self._held(probe, folders)
                folder = held.names.get(name) or (name if name in folders else held.latest(name))
            if folder is not None:
                break
        if folder is None or self._analysis is None:
            known = ", ".join(self) or "none"
            raise UnknownNameError(
                f"{self._analysis or 'an analysis in memory'}: has no results of probe "
                f"{brief(name)}; {meant(name, self)}it has {known}; accweight probe computes them"
            )
        older = [self._store(one).folder for one in held.older(folder)]
        return ProbeResult(self._store(folder), older)

    def _store(self, folder: str) -> ProbeStore:
        """Return the results in a folder of the analysis, which is on disk."""
        return ProbeStore.open(self._analysis or Path(), folder)


@dataclass(frozen=True)
class _Held:
    """The results of one probe.

    Attributes:
        names: Their folders by name, without those that newer ones take the place of.
        documents: What was asked, by folder.
        outdated: The newer folder by that of each older result.
    """

    names: Mapping[str, str]
    documents: Documents = field(default_factory=dict)
    outdated: Mapping[str, str] = field(default_factory=dict)

    def latest(self, asked: str) -> str | None:
        """Return the folder of the latest result that a text may mean."""
        fitting = [
            folder
            for folder in self.names.values()
            if folder in self.documents
            and fits(self.documents[folder].probe, self.documents[folder].options, asked)
        ]
        return max(fitting, key=lambda folder: self.documents[folder].number, default=None)

    def older(self, folder: str) -> list[str]:
        """Return the folders that a result takes the place of."""
        return [old for old, newer in self.outdated.items() if newer == folder]
