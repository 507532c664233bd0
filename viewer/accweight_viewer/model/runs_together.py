"""What the runs of a session have together: steps, layers in one order, names in few letters.

It is of one state of the runs; a later state has another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.short_names import short_names
from accweight_viewer.model.folding import merged_names
from accweight_viewer.model.plates import ShownLayer
from accweight_viewer.model.runs import ShownRun


class RunsTogether:
    """One, two or more runs side by side."""

    def __init__(self, runs: Sequence[ShownRun]) -> None:
        self._runs = tuple(runs)

    @cached_property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps of all runs, ascending."""
        return np.unique(np.concatenate([run.steps for run in self._runs]))

    @cached_property
    def layer_names(self) -> list[str]:
        """Names of all layers of all runs, in network order."""
        names = [layer.name for layer in self._runs[0].layers]
        for run in self._runs[1:]:
            others = [layer.name for layer in run.layers]
            alike = 2 * len({*names} & {*others}) >= min(len(names), len(others))
            names = (
                list(dict.fromkeys([*names, *others])) if not alike else merged_names(names, others)
            )
        return names

    @cached_property
    def related(self) -> bool:
        """Whether all runs are of one network: half of the layers of the smaller one are alike."""
        first, *others = ({layer.name for layer in run.layers} for run in self._runs)
        return all(2 * len(first & other) >= min(len(first), len(other)) for other in others)

    @cached_property
    def short_names(self) -> dict[str, str]:
        """What layers are called where there is little room, by name."""
        return short_names(self.layer_names)

    def layers_called(self, name: str) -> list[ShownLayer | None]:
        """Return the layer of that name in each run, or None."""
        return [index.get(name) for index in self._by_name]

    @cached_property
    def _by_name(self) -> list[dict[str, ShownLayer]]:
        return [{layer.name: layer for layer in run.layers} for run in self._runs]

    def only_in(self, name: str) -> str:
        """Return the name of the only run with a layer; '' if all or none have it.

        Of unrelated runs, nothing is said.
        """
        if not self.related:
            return ""
        having = [
            run.name
            for run, layer in zip(self._runs, self.layers_called(name), strict=True)
            if layer is not None
        ]
        return having[0] if len(having) == 1 < len(self._runs) else ""
