"""Tensors of the checkpoints that no tensor of the network is made of.

What an exporter folds, merges or shares leaves a tensor of the checkpoint without a place. Then the
network would follow the run with a part of it standing still, at every step but the one that it was
exported from, where both agree. So a trained tensor left over keeps a binding from being verified,
unless it is tied to one that has its place, or the user says that the network leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from accweight_core.probes.binding.arrays import Array, Weights, signature
from accweight_core.probes.binding.assignment import Assignment
from accweight_core.schema import Kind, Parameter, Role, Run
from accweight_core.text import some


def doubts_about_leftovers(
    run: Run, assignments: Sequence[Assignment], unused: Sequence[str], own: int | None
) -> list[str]:
    """Return what is left over and matters, in a sentence; nothing if all has its place.

    Args:
        run: The run.
        assignments: What the network is made of.
        unused: Patterns of tensors that the network leaves out, as the user says.
        own: Index of the checkpoint with the network's own weights.
    """
    used = {source for item in assignments for source in item.sources}
    left = [
        parameter
        for parameter in run.parameters
        if parameter.name not in used
        and not any(fnmatchcase(parameter.name, pattern) for pattern in unused)
    ]
    if not left:
        return []
    indices = sorted({0, len(run.checkpoints) - 1} | ({own} if own is not None else set()))
    digests = [_digests(run, index, left, used) for index in indices]
    left = [p for p in left if p.name in digests[0] and _matters(p, digests, used)]
    if not left:
        return []
    twin = _twin(left[0], digests[indices.index(own)], used) if own is not None else ""
    if twin and own is not None:
        told = (
            f"the network has one tensor for {left[0].name} and {twin}, which are equal at step "
            f"{run.checkpoints[own].step} and are not later; export it from a later checkpoint"
        )
        return [told]
    names = some([parameter.name for parameter in left])
    doubt = (
        f"the network has no place for {names} of the checkpoints; was it exported without them? "
        "then say so with --unused PATTERN; otherwise it does not follow the run"
    )
    return [doubt]


def _digests(run: Run, index: int, left: Sequence[Parameter], used: set[str]) -> dict[str, bytes]:
    """Return digests of tensors left over, and of used ones of their sizes, at one checkpoint."""
    sizes = {parameter.elements for parameter in left}
    names = {parameter.name for parameter in left}
    found = {}
    with Weights(run.checkpoints[index]) as weights:
        for parameter in run.parameters:
            name = parameter.name
            is_like = parameter.elements in sizes and name in used
            if name in weights and (name in names or is_like):
                found[name] = _digest(weights[name])
    return found


def _digest(values: Array) -> bytes:
    return signature(values) + values.reshape(-1)[:64].tobytes()


def _twin(parameter: Parameter, digests: dict[str, bytes], used: set[str]) -> str:
    """Return a used tensor of the same values, which an exporter stores once with it."""
    own = digests[parameter.name]
    return next((n for n, found in digests.items() if n in used and found == own), "")


def _matters(parameter: Parameter, digests: Sequence[dict[str, bytes]], used: set[str]) -> bool:
    """Tell whether a tensor left over could change what the network computes."""
    rows = [row[parameter.name] for row in digests]
    if parameter.role is Role.BUFFER and parameter.kind is not Kind.NORM and len(set(rows)) == 1:
        return False
    tied = [
        name
        for name in used
        if all(row.get(name, b"")[:16] == own[:16] for row, own in zip(digests, rows, strict=True))
    ]
    return not (tied and parameter.elements > 1)
