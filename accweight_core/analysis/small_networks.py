"""Detect checkpoints of another network where all matrices are small.

Two unrelated matrices of 256 elements and more have a cosine near 0, and training keeps it far
from there, so the sums of neighbouring steps tell them apart (`continuity`). Small ones turn far in
a few steps of honest training, and unrelated ones have cosines of up to 0.4 by chance. So a low
cosine is no evidence here; a step that leaves a direction which the steps around it share is.
That takes cosines of steps two apart, which no sums have: where the sums of neighbours leave room
for it, and only there, the weights of these steps are read again. With these limits,
``benchmarks/continuity.py`` reports one of 18,430 honest small runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.continuity import SMALLEST_MATRIX, Break
from accweight_core.errors import AccweightError
from accweight_core.io.reading import OpenFiles, is_remote, read_stretch
from accweight_core.io.widening import working_dtype
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Checkpoint, Parameter, Role
from accweight_core.store.header import Header

CheckpointAt = Callable[[int], Checkpoint]
"""Returns a checkpoint by its position in the run; raises an AccweightError if it is gone."""

FEWEST_ELEMENTS = 48
"""Elements of all matrices from which a single step is reported. With 32, two of 3,072 honest runs
would be."""

FEWEST_IN_TURN = 16
"""Elements from which two networks in turn are reported, as that is seen several times."""

DEVIATIONS, MOST = 2.5, 0.4
"""Cosine up to which two steps can be unrelated: so many standard deviations, but at most that."""

SAME_SIDE = 0.95
"""Cosine of the steps on either side of a foreign one, from which they belong together."""

SAME_SIDE_IN_TURN = 0.85
"""The same where networks alternate, for at least `IN_TURN` steps."""

IN_TURN = 3

SETTLED = 0.97
"""Cosine of the two steps before a restart, from which the run had settled."""

MOST_READ = 1 << 24
"""Elements read again at most."""


@dataclass(frozen=True)
class _Matrices:
    """The matrices that count: small, moving, finite, and nowhere zero."""

    parameters: tuple[Parameter, ...]
    near: Floats
    """(steps,): cosine between a step and the one before, averaged over elements; NaN at first."""

    @property
    def elements(self) -> int:
        return sum(parameter.elements for parameter in self.parameters)

    @property
    def chance(self) -> float:
        """Cosine up to which two steps can be unrelated."""
        return float(min(DEVIATIONS / np.sqrt(self.elements), MOST))


def small_breaks(header: Header, values: Floats, checkpoint_at: CheckpointAt) -> list[Break] | None:
    """Return the steps that do not continue the step before them, in a network of small matrices.

    Args:
        header: Header of the analysis.
        values: (steps, parameters, sums).
        checkpoint_at: Returns a checkpoint whose weights are read, by its position.

    Returns:
        None if checkpoints are needed and gone, or in another form: the sums must do.
    """
    matrices = _matrices(header, values)
    if matrices is None or matrices.elements < FEWEST_IN_TURN:
        return []
    is_low = np.abs(np.nan_to_num(matrices.near, nan=1.0)) < matrices.chance
    suspects = [int(at) for at in np.flatnonzero(is_low)]
    if not any(at >= 2 for at in suspects):
        return []
    last = len(header.steps) - 1
    wanted = sorted({p for at in suspects for p in range(at - 2, at + 2) if 0 <= p <= last})
    if len(wanted) * matrices.elements > MOST_READ:
        return []
    try:
        vectors = _vectors(matrices, wanted, checkpoint_at)
    except AccweightError:
        return None
    if vectors is None:
        return []
    return _judged(header, matrices, is_low, dict(zip(wanted, vectors, strict=True)))


def has_small_matrices(header: Header) -> bool:
    """Tell whether a network has matrices, and all are small."""
    sizes = [header.parameters[index].elements for index in _places(header)]
    return bool(sizes) and max(sizes) < SMALLEST_MATRIX


def _places(header: Header) -> list[int]:
    """Return the indices of all matrices."""
    return [
        index
        for index, parameter in enumerate(header.parameters)
        if parameter.role in (Role.WEIGHT, Role.EMBEDDING)
        and len(parameter.shape) > 1
        and parameter.elements
    ]


def _matrices(header: Header, values: Floats) -> _Matrices | None:
    """Return the matrices that count; None if there are none, or one is large."""
    if not has_small_matrices(header):
        return None
    places = _places(header)
    square, moved, bad = (
        values[:, places, SUMS.index(name)] for name in ("square", "step_square", "nonfinite")
    )
    counts = np.asarray((square > 0).all(axis=0) & (moved > 0).any(axis=0) & ~(bad > 0).any(axis=0))
    places = [index for index, does in zip(places, counts, strict=True) if does]
    if not places:
        return None
    square, moved = square[:, counts], moved[:, counts]
    cosines = (square[1:] + square[:-1] - moved[1:]) / (2 * np.sqrt(square[1:] * square[:-1]))
    elements = np.array([header.parameters[index].elements for index in places])
    near = np.concatenate([[np.nan], cosines @ (elements / elements.sum())])
    return _Matrices(tuple(header.parameters[index] for index in places), near)


def _vectors(
    matrices: _Matrices, places: Sequence[int], checkpoint_at: CheckpointAt
) -> list[npt.NDArray[np.float64]] | None:
    """Return the weights of steps as vectors whose product is the mean cosine of the matrices."""
    vectors = []
    for place in places:
        checkpoint = checkpoint_at(place)
        tensors = [checkpoint.tensors.get(p.name) for p in matrices.parameters]
        parts = []
        with OpenFiles() as files:
            for tensor in tensors:
                if tensor is None or is_remote(tensor):
                    return None
                part = np.empty(tensor.values.elements, working_dtype(tensor))
                if part.dtype.kind == "c":
                    return None
                read_stretch(files, tensor, 0, part.size, part)
                wide = part.astype(np.float64)
                length = float(np.linalg.norm(wide))
                share = np.sqrt(wide.size / matrices.elements)
                parts.append(wide * (share / length) if length else wide)
        vectors.append(np.concatenate(parts))
    return vectors


def _judged(
    header: Header,
    matrices: _Matrices,
    is_low: npt.NDArray[np.bool_],
    vectors: dict[int, npt.NDArray[np.float64]],
) -> list[Break]:
    def cosine(a: int, b: int) -> float:
        return float(vectors[a] @ vectors[b])

    last = len(header.steps) - 1
    apart = [at for at in range(1, last) if is_low[at] and is_low[at + 1]]
    around = {at: cosine(at - 1, at + 1) for at in apart}
    in_turn = [at for at in apart if around[at] > SAME_SIDE_IN_TURN]
    found: list[Break] = []
    told: set[int] = set()
    for group in _neighbouring(in_turn):
        if len(group) >= IN_TURN:
            told.update(range(group[0] - 1, group[-1] + 2))
            found.append(_taken_in_turn(header, matrices, group, around[group[0]]))
    if matrices.elements < FEWEST_ELEMENTS:
        return found
    for at in apart:
        if at not in told and around[at] > SAME_SIDE:
            found += [_foreign(header, matrices, place, at, around[at]) for place in (at, at + 1)]
            told.update((at, at + 1))
    for at in range(2, last + 1):
        if not is_low[at] or at in told or not cosine(at - 2, at - 1) > SETTLED:
            continue
        later = [at, at + 1] if at < last else [at]
        if all(
            abs(cosine(before, after)) < matrices.chance
            for before in (at - 2, at - 1)
            for after in later
        ):
            found.append(_restart(header, matrices, at, cosine(at - 2, at - 1)))
    return sorted(found, key=lambda suspect: suspect.step)


def _neighbouring(places: Sequence[int]) -> list[list[int]]:
    """Return places in groups of consecutive ones."""
    groups = [[place] for place in places[:1]]
    for before, after in pairwise(places):
        if after == before + 1:
            groups[-1].append(after)
        else:
            groups.append([after])
    return groups


def _break(header: Header, place: int, reason: str) -> Break:
    return Break(int(header.steps[place]), int(header.steps[place - 1]), reason)


def _aligned(matrices: _Matrices, place: int) -> str:
    return f"their weights align by {matrices.near[place]:.2f} (mean cosine over small matrices)"


def _taken_in_turn(
    header: Header, matrices: _Matrices, group: Sequence[int], around: float
) -> Break:
    before, after, end = (
        int(header.steps[place]) for place in (group[0] - 1, group[0] + 1, group[-1] + 1)
    )
    return _break(
        header,
        group[0],
        f"{_aligned(matrices, group[0])}, those of steps {before} and {after} by {around:.2f}, and "
        f"so on up to step {end}, so two networks are probably taken in turn",
    )


def _foreign(header: Header, matrices: _Matrices, place: int, foreign: int, around: float) -> Break:
    steps = [int(header.steps[at]) for at in (foreign - 1, foreign + 1, foreign)]
    return _break(
        header,
        place,
        f"{_aligned(matrices, place)}, those of steps {steps[0]} and {steps[1]} by {around:.2f}, "
        f"so step {steps[2]} is probably from another run",
    )


def _restart(header: Header, matrices: _Matrices, place: int, settled: float) -> Break:
    steps = [int(header.steps[at]) for at in (place - 2, place - 1)]
    return _break(
        header,
        place,
        f"{_aligned(matrices, place)}, those of steps {steps[0]} and {steps[1]} by {settled:.2f}, "
        "so this is probably a restart or from another run",
    )
