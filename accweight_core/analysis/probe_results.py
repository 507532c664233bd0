"""Results of probes that an analysis holds: arrays by name, and tables of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from accweight_core.arguments import brief, checked_text
from accweight_core.errors import UnknownNameError
from accweight_core.store.probe_store import STEP, FieldDocument, ProbeStore, probes_in
from accweight_core.text import meant, some

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

NO_ROWS = (STEP, "component", "bound")
"""Axes that have no rows in tables."""


class ProbeResult:
    """What one probe found at the steps that are finished."""

    def __init__(self, store: ProbeStore) -> None:
        """Use results on disk."""
        self._store = store
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
    def number(self) -> int:
        """How many results the analysis had before it was begun; tells the order of results."""
        return self._store.document.number

    @property
    def options(self) -> dict[str, Any]:
        """Options of the probe."""
        return dict(self._store.document.options)

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

    A probe that was asked for in several ways (other options, data or network) has a name with a
    digest for each, such as "embedding-3f2a90c1d7e4"; its plain name is the latest of them.
    """

    def __init__(self, analysis: Path | None) -> None:
        """Use the analysis in a folder; without a folder there are none."""
        self._analysis = analysis

    def __repr__(self) -> str:
        """Return the names."""
        return f"<Probes: {', '.join(self) or 'none'}>"

    def _folders(self) -> list[str]:
        return [] if self._analysis is None else probes_in(self._analysis)

    def __iter__(self) -> Iterator[str]:
        """Yield a name per result, the plain one if a probe was asked for in one way."""
        folders = self._folders()
        names = [folder.rpartition("-")[0] for folder in folders]
        for folder, name in zip(folders, names, strict=True):
            yield name if names.count(name) == 1 else folder

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self._folders())

    def __getitem__(self, name: str, /) -> ProbeResult:
        """Return a result by its name, or by its name and digest.

        Raises:
            UnknownNameError: If there is none.
            StoreError: If it is damaged.
        """
        folders = self._folders()
        found = [f for f in folders if name in (f, f.rpartition("-")[0])]
        if not found or self._analysis is None:
            known = ", ".join(self) or "none"
            raise UnknownNameError(
                f"{self._analysis or 'an analysis in memory'}: has no results of probe "
                f"{brief(name)}; {meant(name, self)}it has {known}; accweight probe computes them"
            )
        stores = [ProbeStore.open(self._analysis, folder) for folder in found]
        return ProbeResult(max(stores, key=lambda store: store.document.number))
