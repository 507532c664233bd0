"""Findings that need values again: buffers, which are not measured, and distant copies.

Small buffers are read in every checkpoint, for NaN; else only what stood still is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.findings import Finding, counted, findings, identical_text, listed
from accweight_core.analysis.movement import Movement
from accweight_core.dtypes import is_measurable
from accweight_core.errors import AccweightError
from accweight_core.io.reading import OpenFiles, is_remote, read_stretch, same_values
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.io.widening import working_dtype
from accweight_core.naming import layers_of
from accweight_core.schema import Checkpoint, Parameter, Role, StoredTensor

COPIED = ("square", "net_square", "net_sum", "flips", "nonfinite")
"""Sums that are equal if two checkpoints are; they tell which are worth reading."""

MOST_COPIES = 3
"""Pairs of checkpoints that are read to find distant copies."""


MOST_ELEMENTS = 1 << 28
"""Weights of a checkpoint up to which such pairs are read: 1 GiB of float32. Beyond, equal sums of
all parameters are told as likely."""


MOST_STATISTICS = 1 << 20
"""Elements of a buffer up to which it is read to find NaN: running statistics have one a channel,
tables of positions and masks have millions."""

MOST_REMOTE = 16
"""Buffers that are read from URLs, as each takes a request or two: a few are enough to tell."""


def findings_of(analysis: Analysis) -> tuple[list[Finding], list[str]]:
    """Return all findings on an analysis, and why some could not be had.

    Checkpoints are read only for layers that stood still, and for pairs that seem to be copies.
    """
    movement = Movement(analysis.header, analysis.values)
    found = findings(analysis.header, analysis.values)
    copies = _seeming_copies(movement)
    if not movement.trained or not (movement.still_layers or copies):
        return found, []
    try:
        checkpoints = analysis.run().checkpoints
        found += moved_buffers(movement, checkpoints)
        found += distant_copies(movement, checkpoints, copies)
    except AccweightError as error:
        return found, [f"buffers of still layers and copies were not looked at: {error}"]
    return found, []


def buffers_of(checkpoint: Checkpoint) -> list[Parameter]:
    """Return the buffers that hold numbers (running statistics); counters are left out."""
    layers = layers_of(checkpoint.tensors.values())
    return [
        parameter
        for layer in layers
        for parameter in layer.parameters
        if parameter.role is Role.BUFFER
        and is_measurable(parameter.dtype)
        and not checkpoint.tensors[parameter.name].refusal
    ]


def nonfinite_buffers(
    checkpoints: Sequence[Checkpoint], buffers: Sequence[Parameter]
) -> Iterator[Finding]:
    """Find the first NaN or infinity in buffers, which are not measured.

    Infinity does not count in masks, which hold it from the first checkpoint on. Of remote
    checkpoints only the last is read, and few buffers: running statistics never lose a NaN.
    """
    small = [buffer for buffer in buffers if buffer.elements <= MOST_STATISTICS]
    if not small:
        return
    places = list(enumerate(checkpoints))
    are_remote = any(is_remote(checkpoints[0].tensors[buffer.name]) for buffer in small)
    if are_remote:
        small, places = small[:MOST_REMOTE], places[-1:]
    hits = _damaged(small, places, checkpoints)
    if not hits:
        return
    place, order, count = hits[0]
    first, step = small[order], checkpoints[place].step
    what = "NaN or infinity in a buffer" if are_remote else "the first NaN or infinity in a buffer"
    text = (
        f"{what} is in {first.name} at step {step} "
        f"({count:,} of {counted(first.elements, 'element')})"
    )
    if hits[1:]:
        text += f", and {counted(len(hits) - 1, 'buffer')} more"
    if are_remote:
        text += "; of this remote run, only the last checkpoint was looked at"
    names = tuple(small[order].name for _, order, _ in hits)
    layers = tuple(dict.fromkeys(small[order].layer for _, order, _ in hits))
    yield Finding("nonfinite", text, step, layers, names, is_wrong=True)


def _damaged(
    buffers: Sequence[Parameter],
    places: Sequence[tuple[int, Checkpoint]],
    checkpoints: Sequence[Checkpoint],
) -> list[tuple[int, int, int]]:
    """Return the place at which each buffer first has NaN or infinity, its index, and how many.

    Files are read one after the other, as only some can be open at a time.
    """
    hits: list[tuple[int, int, int]] = []
    todo, masks = dict(enumerate(buffers)), set[int]()
    if places[0][0] > 0:  # they may be masks, whose beginning is not known
        masks.update(todo)
    with held_to(stamps_of(checkpoints)), OpenFiles() as files:
        for place, checkpoint in places:
            for order, buffer in list(todo.items()):
                tensor = checkpoint.tensors.get(buffer.name)
                if tensor is None or tensor.refusal or tensor.shape != buffer.shape:
                    continue
                values = _values(files, tensor)
                if place == 0 and np.isinf(values).any():
                    masks.add(order)
                damaged = np.isnan(values) if order in masks else ~np.isfinite(values)
                if damaged.any():
                    hits.append((place, order, int(np.count_nonzero(damaged))))
                    del todo[order]
    return sorted(hits)


def _values(files: OpenFiles, tensor: StoredTensor) -> npt.NDArray[np.generic]:
    """Return all values of a tensor, widened."""
    values = np.empty(tensor.values.elements, working_dtype(tensor))
    read_stretch(files, tensor, 0, values.size, values)
    return values


def _is_equal(before: StoredTensor, after: StoredTensor) -> bool:
    """Tell whether two tensors hold the same values, be it in different element types."""
    if before.dtype == after.dtype:
        return same_values([before], [after])
    if before.shape != after.shape or not is_measurable(after.dtype) or after.refusal:
        return False
    with OpenFiles() as files:
        pair = _values(files, before), _values(files, after)
    return bool(np.array_equal(*pair, equal_nan=True))


def first_moves(checkpoints: Sequence[Checkpoint], names: Iterable[str]) -> dict[str, int]:
    """Return the step at which the values of each tensor first differ from those before.

    Args:
        checkpoints: In step order.
        names: Names of tensors; those that never change, or that a checkpoint lacks, are left out.
    """
    found = {}
    with held_to(stamps_of(checkpoints)):
        for name in names:
            for before, after in pairwise(checkpoints):
                one, other = before.tensors.get(name), after.tensors.get(name)
                if one is not None and other is not None and not _is_equal(one, other):
                    found[name] = after.step
                    break
    return found


def moved_buffers(movement: Movement, checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Find layers whose weights never moved while their buffers did: a BatchNorm in train mode."""
    still = set(movement.still_layers)
    if not still:
        return
    ends = [checkpoints[0], checkpoints[-1]]
    buffers = [buffer for buffer in buffers_of(checkpoints[0]) if buffer.layer in still]
    if any(is_remote(ends[0].tensors[buffer.name]) for buffer in buffers):
        buffers = buffers[:MOST_REMOTE]
    moved = first_moves(ends, [buffer.name for buffer in buffers])
    if not moved:
        return
    layers = tuple(dict.fromkeys(buffer.layer for buffer in buffers if buffer.name in moved))
    text = (
        f"buffers moved though their weights did not, between steps {ends[0].step} and "
        f"{ends[1].step}: {listed(list(moved))}; running statistics go on in train mode even if "
        "nothing is trained (call eval() on frozen norms)"
    )
    yield Finding("buffers_moved", text, None, layers, tuple(moved))


def _seeming_copies(movement: Movement) -> list[tuple[int, int]]:
    """Return indices of checkpoints with equal sums of all parameters, and others between them."""
    if not movement.trained:
        return []
    sums = [movement.sums(name)[:, movement.trained] for name in COPIED]
    alike: Mapping[bytes, list[int]] = defaultdict(list)
    finite = ~(movement.sums("nonfinite")[:, movement.trained] > 0).any(axis=1)
    for at in np.flatnonzero(finite).tolist():
        alike[b"".join(column[at].tobytes() for column in sums)].append(at)
    moving = movement.is_moving
    return [
        (first, later)
        for places in alike.values()
        for first, later in pairwise(places)
        if moving[first + 1 : later + 1].any()
    ][:MOST_COPIES]


def distant_copies(
    movement: Movement, checkpoints: Sequence[Checkpoint], pairs: Iterable[tuple[int, int]]
) -> Iterator[Finding]:
    """Find which of the checkpoints that seem to be copies are: files written twice, or late."""
    names = [movement.parameter(index).name for index in movement.trained]
    elements = sum(movement.parameter(index).elements for index in movement.trained)
    for first, later in pairs:
        here, there = (
            [checkpoints[at].tensors[name] for name in names if name in checkpoints[at].tensors]
            for at in (first, later)
        )
        is_read = elements <= MOST_ELEMENTS and not any(map(is_remote, (*here, *there)))
        if is_read:
            with held_to(stamps_of((checkpoints[first], checkpoints[later]))):
                if not same_values(here, there):
                    continue
        steps = [movement.steps[at] for at in (first, later)]
        text, sure = identical_text(steps), "exact" if is_read else "likely"
        yield Finding("identical", text, steps[1], sure=sure)
