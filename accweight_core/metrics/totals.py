"""Merge the sums of sub-blocks into those of parameters and layers, and compute metrics.

The sums of sub-blocks are merged strictly from left to right, so a total depends neither on who
computed them nor on how many at a time. Layers merge their parameters in the same way, in the
order of their names, so that all formats give the same bits whatever their order of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.sums import SUMS, Merge, merged_by
from accweight_core.metrics.table import METRICS, TABLE, Columns
from accweight_core.metrics.table import Floats as Floats

_INDEX = {name: index for index, name in enumerate(SUMS)}
_PATH = _INDEX["path_sum"]
_ADDED = merged_by(Merge.ADDED)
_LARGEST = [c for c in merged_by(Merge.LARGEST) if SUMS[c] != "path_max"]
_TOP, _WHERE, _M2 = (_INDEX[name] for name in ("path_max", "path_argmax", "path_m2"))


@dataclass
class Totals:
    """Sums over a growing range of elements, for every step.

    Attributes:
        elements: Number of elements covered so far.
        values: (steps, len(SUMS)) float64; `path_argmax` counts from the first element.
    """

    elements: int
    values: Floats

    @classmethod
    def empty(cls, steps: int) -> Totals:
        """Return the totals of zero elements."""
        values = np.zeros((steps, len(SUMS)))
        values[:, _INDEX["path_max"]] = -np.inf
        return cls(0, values)

    @classmethod
    def unknown(cls, elements: int, steps: int) -> Totals:
        """Return the totals of unmeasured elements: all NaN."""
        return cls(elements, np.full((steps, len(SUMS)), np.nan))

    @property
    def are_known(self) -> bool:
        """Whether the elements have been measured."""
        return bool(are_known(self.values))

    def column(self, name: str) -> Floats:
        """Return one column, over steps."""
        return self.values[:, _INDEX[name]]

    def add(self, elements: int, values: Floats) -> None:
        """Merge the next `elements` elements, given their (steps, len(SUMS)) sums."""
        if elements:
            self.extend(np.array([elements]), values[:, None])

    def extend(self, elements: npt.NDArray[np.int64], values: Floats) -> None:
        """Merge several ranges, strictly one after the other.

        ``accumulate`` adds from left to right by definition, where ``sum`` may pair terms: the bits
        are those of merging the ranges one by one.

        Args:
            elements: (ranges,) elements of each, not 0.
            values: (steps, ranges, len(SUMS)).
        """
        if not len(elements):
            return
        if len(elements) == 1 and self.elements == 0:  # same result as below
            self.elements, self.values = int(elements[0]), values[:, 0] + 0.0
            return
        before = self.values[:, None]
        covered = self.elements + np.concatenate([[0], np.cumsum(elements)])
        path = _running(before[..., _PATH], values[..., _PATH])
        with np.errstate(invalid="ignore"):  # no elements yet: no mean
            gap = values[..., _PATH] / elements - path[:, :-1] / covered[:-1]
        # Chan, Golub and LeVeque's formula for merging means and squared distances
        share = covered[:-1] * (elements / covered[1:])
        spread = values[..., _M2] + np.where(covered[:-1] > 0, gap * gap * share, 0.0)
        total = self.values.copy()
        total[:, _M2] = _running(before[..., _M2], spread)[:, -1]
        total[:, _ADDED] = np.add.accumulate(
            np.concatenate([before[..., _ADDED], values[..., _ADDED]], axis=1), axis=1
        )[:, -1]
        total[:, _LARGEST] = np.maximum(before[:, 0, _LARGEST], values[..., _LARGEST].max(axis=1))
        first = values[..., _TOP].argmax(axis=1)[:, None]
        top = np.take_along_axis(values[..., _TOP], first, axis=1)[:, 0]
        where = np.take_along_axis(values[..., _WHERE] + covered[:-1], first, axis=1)[:, 0]
        higher = top > before[:, 0, _TOP]
        total[higher, _TOP] = top[higher]
        total[higher, _WHERE] = where[higher]
        self.values = total
        self.elements = int(covered[-1])


def _running(before: Floats, values: Floats) -> Floats:
    """Return the running sum over ranges, starting from the sum so far."""
    running: Floats = np.add.accumulate(np.concatenate([before, values], axis=1), axis=1)
    return running


def folded(parts: Iterable[Totals], steps: int) -> Totals:
    """Return the totals of several ranges together, merged in the given order."""
    total = Totals.empty(steps)
    for part in parts:
        total.add(part.elements, part.values)
    return total


def folded_groups(
    groups: Sequence[Sequence[int]], elements: npt.NDArray[np.int64], values: Floats
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Merge the parameters of each group, all groups in parallel; same bits as `folded`.

    Args:
        groups: Positions of the parameters of each group, in the order of merging.
        elements: (parameters,) elements of each, not 0 for those in a group.
        values: (steps, parameters, len(SUMS)).

    Returns:
        Elements and sums of the groups: (groups,) and (steps, groups, len(SUMS)).
    """
    first = [members[0] for members in groups]
    covered, total = elements[first], values[:, first] + 0.0
    for place in range(1, max(map(len, groups), default=0)):
        longer = [number for number, members in enumerate(groups) if len(members) > place]
        added = [groups[number][place] for number in longer]
        total[:, longer] = _merged(
            covered[longer], total[:, longer], elements[added], values[:, added]
        )
        covered[longer] += elements[added]
    return covered, total


def _merged(
    covered: npt.NDArray[np.int64],
    before: Floats,
    elements: npt.NDArray[np.int64],
    values: Floats,
) -> Floats:
    """Return the merged sums of pairs of neighbouring ranges, as `Totals.extend` does.

    Args:
        covered: Elements of the first range of each pair, not 0.
        before: (steps, pairs, len(SUMS)) of the first range.
        elements: Elements of the second range.
        values: Sums of the second range.
    """
    total = before + values
    gap = values[..., _PATH] / elements - before[..., _PATH] / covered
    share = covered * (elements / (covered + elements))
    total[..., _M2] = before[..., _M2] + (values[..., _M2] + gap * gap * share)
    total[..., _LARGEST] = np.maximum(before[..., _LARGEST], values[..., _LARGEST])
    higher = values[..., _TOP] > before[..., _TOP]
    total[..., _TOP] = np.where(higher, values[..., _TOP], before[..., _TOP])
    total[..., _WHERE] = np.where(higher, values[..., _WHERE] + covered, before[..., _WHERE])
    return total


def are_known(values: Floats) -> npt.NDArray[np.bool_]:
    """Tell which ranges have been measured: the sums of all others are NaN.

    Args:
        values: (steps, ..., len(SUMS)); the sums that an analysis does not hold are NaN as well.

    Returns:
        (...).
    """
    found: npt.NDArray[np.bool_] = ~np.isnan(values[0]).all(axis=-1)
    return found


def metrics(totals: Totals) -> dict[str, Floats]:
    """Return every metric as an array over steps; see `metrics_of`."""
    return metrics_of(totals.elements, totals.values)


def metrics_of(
    elements: int | npt.NDArray[np.int64],
    values: Floats,
    names: Iterable[str] = METRICS,
    running: Mapping[str, Floats] | None = None,
) -> dict[str, Floats]:
    """Return metrics of one range, or of many ranges in parallel.

    A ratio with a zero denominator is NaN: `relative` of weights that were 0 at first,
    `update_ratio` at the reference step. The efficiency of weights that never moved is 1. All
    metrics are NaN without elements, and before they have been measured.

    Args:
        elements: Number of elements of each range.
        values: (steps, ..., len(SUMS)).
        names: Names of the metrics; a metric is NaN if its sums are not held.
        running: Running metrics at the first of the steps, (...) each, where the run began before.

    Returns:
        (steps, ...) each.
    """
    has_value = (elements > 0) & are_known(values)
    columns = Columns(np.where(has_value, elements, 1), values)
    found = {}
    for name in names:
        value = TABLE[name].formula(columns)
        if TABLE[name].is_running:
            if running is not None:
                value[0] = running[name]
            value = np.cumsum(value, axis=0)
        found[name] = np.where(has_value, value, np.nan)
    return found
