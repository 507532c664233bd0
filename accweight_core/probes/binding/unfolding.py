"""Find batch norms that were folded into layers of a network, and plan to fold them per step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from accweight_core.probes.binding import refusals
from accweight_core.probes.binding.arrays import Array, Weights
from accweight_core.probes.binding.assignment import Assignment, Origin
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.folding import (
    PRECISION,
    BatchNorm,
    Fold,
    batch_norms,
    differs,
    folds,
)
from accweight_core.probes.binding.forms import moves
from accweight_core.probes.binding.matching import Candidates
from accweight_core.schema import Kind, Layer, Parameter, Role, Run

MAPS = (Kind.CONV, Kind.CONV_TRANSPOSE, Kind.LINEAR, Kind.ATTENTION, Kind.OTHER)


def unfolded(
    described: Described,
    run: Run,
    candidates: Mapping[str, Candidates],
    own: Weights | None,
    found: dict[str, Assignment],
    open_: Sequence[str],
) -> None:
    """Add the tensors into which batch norms were folded to what was found.

    Args:
        described: The network.
        run: The run.
        candidates: Candidates of its tensors.
        own: The checkpoint that has the network's own weights, if there is one.
        found: What was found so far, by name; added to.
        open_: Names of tensors that are not found so far.

    Raises:
        BindingError: If there is a folded norm, and no checkpoint from which epsilon follows.
    """
    used = {source for item in found.values() for source in item.sources}
    norms = [norm for norm in batch_norms(run.layers) if used.isdisjoint(norm.names)]
    if own is None:
        refused = [pair for pair in _before(run.layers, norms) if _is_used(pair[0], used)]
        if refused:
            raise refusals.folded(refused[0][0].name, refused[0][1].layer, described)
        return
    for name in open_:
        target = described.parameters.get(name)
        if target is not None and target.role is Role.WEIGHT and norms and name not in found:
            fits = list(_folds_into(target, described, run, candidates[name], own, norms))
            if fits:
                _add(fits, target, described, run, own, found)


def _before(
    layers: Sequence[Layer], norms: Sequence[BatchNorm]
) -> Iterator[tuple[Layer, BatchNorm]]:
    """Yield the norms that come right after a layer, with that layer."""
    by_name = {norm.layer: norm for norm in norms}
    for layer, after in pairwise(layers):
        if after.name in by_name and layer.kind in MAPS:
            yield layer, by_name[after.name]


def _is_used(layer: Layer, used: set[str]) -> bool:
    return any(p.name in used for p in layer.parameters)


def _folds_into(
    target: Parameter,
    described: Described,
    run: Run,
    candidate: Candidates,
    own: Weights,
    norms: Sequence[BatchNorm],
) -> Iterator[Fold]:
    """Yield the folds that give a tensor's own values, and the bias of its layer."""
    layers = {p.name: layer for layer in run.layers for p in layer.parameters}
    others = [p for p in run.parameters if p.role is Role.WEIGHT and p not in candidate.sources]
    for source in (*candidate.sources, *others):
        if source.elements != target.elements or source.name not in own:
            continue
        bias = _bias_of(layers[source.name])
        for move in moves(source, target):
            values = described.own[target.name]
            for fold in folds(move, source, bias, target, values, norms, own):
                if _gives_bias(fold, described, target, own):
                    yield fold


def _bias_of(layer: Layer) -> str:
    biases = [p.name for p in layer.parameters if p.role is Role.BIAS]
    return biases[0] if len(biases) == 1 else ""


def _bias_beside(described: Described, target: Parameter, channels: int) -> Parameter | None:
    """Return the bias of a tensor's layer in the network, which has so many output channels."""
    beside = [
        p
        for p in described.parameters.values()
        if p.layer == target.layer and p.role is Role.BIAS and p.elements == channels
    ]
    return beside[0] if len(beside) == 1 else None


def _gives_bias(fold: Fold, described: Described, target: Parameter, own: Weights) -> bool:
    shift = fold.shift(own)
    bias = _bias_beside(described, target, shift.size)
    there: Array = described.own[bias.name].reshape(-1) if bias else np.zeros(shift.shape)
    parts = [np.abs(shift).max(initial=0), np.abs(there).max(initial=0)]
    return bool(np.abs(shift - there).max(initial=0) <= PRECISION * max(*parts, 1e-30) + 1e-7)


def _add(
    fits: Sequence[Fold],
    target: Parameter,
    described: Described,
    run: Run,
    own: Weights,
    found: dict[str, Assignment],
) -> None:
    fold, *others = _nearest_first(fits, run)
    step = own.checkpoint.step
    doubts = []
    if others:
        names = ", ".join(dict.fromkeys(f.norm.layer for f in (fold, *others)))
        doubts.append(f"{target.name}: the norms {names} fit it equally at step {step}")
    if len(fold.epsilons) > 1 and _epsilon_matters(fold, run):
        usual = " and ".join(f"{epsilon:g}" for epsilon in fold.epsilons)
        doubts.append(f"{target.name}: the epsilons {usual} fit equally at step {step}, not later")
    made = {target: fold.of_weight(target)}
    bias = _bias_beside(described, target, fold.shift(own).size)
    if bias is not None:
        made[bias] = fold.of_bias(bias)
    for parameter, recipe in made.items():
        found[parameter.name] = Assignment(
            parameter.name,
            parameter.shape,
            Origin.CHECKPOINT,
            recipe,
            evidence=f"same values at step {step}, to rounding",
            is_equal=True,
            doubts=tuple(doubts),
        )


def _nearest_first(fits: Sequence[Fold], run: Run) -> list[Fold]:
    """Return folds by distance from weight to norm; one per norm and weight."""
    place = {p.name: i for i, layer in enumerate(run.layers) for p in layer.parameters}
    unique = {(fold.weight, fold.norm.layer): fold for fold in reversed(fits)}

    def distance(fold: Fold) -> tuple[bool, int]:
        gap = place[fold.norm.mean] - place[fold.weight]
        return gap < 0, abs(gap)

    return sorted(unique.values(), key=distance)


def _epsilon_matters(fold: Fold, run: Run) -> bool:
    """Tell whether epsilons that are alike at one checkpoint differ at another."""
    for checkpoint in run.checkpoints:
        with Weights(checkpoint) as weights:
            if differs(fold.norm, weights, fold.epsilons):
                return True
    return False
