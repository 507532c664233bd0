"""Find the checkpoint from which a network was exported: the one whose weights it has.

Digests that do not depend on the order of elements are compared, of a few of the network's
matrices with all tensors of a checkpoint of that size. Frozen layers are equal at every step and
tell nothing, so what counts are matrices that are equal at some steps and not at others.
"""

from __future__ import annotations

from collections.abc import Sequence

from accweight_core.probes.binding.arrays import Weights, coarser, is_uniform, signature
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.folding import batch_norms, folds
from accweight_core.probes.binding.forms import moves
from accweight_core.schema import Parameter, Role, Run

MOST_KEYS = 8
FEWEST_ELEMENTS = 8
MATRICES = (Role.WEIGHT, Role.EMBEDDING)


def own_step(described: Described, run: Run) -> int | None:
    """Return the index of the checkpoint that has the network's own weights, None if there is none.

    Of several the last is returned, as their weights are equal.
    """
    keys = _keys(described, run)
    if not keys:
        return None
    hits = [_hits(described, run, index, keys) for index in range(len(run.checkpoints))]
    if not any(hits):
        return _folded_step(described, run, keys)
    always = set.intersection(*hits)
    if len(hits) > 1:
        told = [found - always for found in hits]
        best = max(range(len(hits)), key=lambda index: (len(told[index]), index))
        if told[best]:
            return best
        return len(hits) - 1 if len(always) == len(keys) else None
    return 0 if always else None


def _folded_step(described: Described, run: Run, keys: Sequence[str]) -> int | None:
    """Return the last checkpoint whose batch norms, folded in, give one of these matrices."""
    norms = batch_norms(run.layers)
    for index in reversed(range(len(run.checkpoints)) if norms else ()):
        with Weights(run.checkpoints[index]) as weights:
            for key in keys:
                target, own = described.parameters[key], described.own[key]
                for source in run.parameters:
                    if source.elements != target.elements or source.name not in weights:
                        continue
                    for move in moves(source, target):
                        if any(folds(move, source, "", target, own, norms, weights)):
                            return index
    return None


def _keys(described: Described, run: Run) -> list[str]:
    """Return the network's smallest matrices whose size a tensor of the checkpoints has."""
    sizes = {parameter.elements for parameter in run.parameters}
    able = [
        parameter
        for parameter in described.parameters.values()
        if parameter.role in MATRICES
        and parameter.elements >= FEWEST_ELEMENTS
        and parameter.elements in sizes
        and not is_uniform(described.own[parameter.name])
    ]
    able.sort(key=lambda parameter: parameter.elements)
    return [parameter.name for parameter in _spread(able[: max(len(able) // 2, MOST_KEYS)])]


def _spread(items: Sequence[Parameter]) -> list[Parameter]:
    """Return some items, those at both ends among them."""
    if len(items) <= MOST_KEYS:
        return list(items)
    return [items[round(i * (len(items) - 1) / (MOST_KEYS - 1))] for i in range(MOST_KEYS)]


def _hits(described: Described, run: Run, index: int, keys: Sequence[str]) -> set[str]:
    """Return the keys whose values a tensor of the checkpoint has, in any order."""
    wanted: dict[int, list[str]] = {}
    for key in keys:
        wanted.setdefault(described.own[key].size, []).append(key)
    found: set[str] = set()
    with Weights(run.checkpoints[index]) as weights:
        for parameter in run.parameters:
            for key in wanted.get(parameter.elements, ()):
                if key in found or parameter.name not in weights:
                    continue
                dtype = coarser(weights.dtype(parameter.name), described.dtype(key))
                values = weights[parameter.name]
                if signature(values, dtype) == described.signature(key, dtype):
                    found.add(key)
    return found
