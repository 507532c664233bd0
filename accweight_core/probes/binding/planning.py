"""Decide for every tensor of a network from which tensors of a checkpoint it is made.

Where a checkpoint has the network's own weights, every choice is tested there: a recipe stands if
it gives the network's own values to the bit (a folded norm: to rounding). What the names propose is
tried first, then other orders of axes and gates, then other tensors of that size. Without such a
checkpoint the proposals are taken as they are, and the binding stays unverified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from accweight_core.alignment.alignment import Alignment
from accweight_core.probes.binding import refusals
from accweight_core.probes.binding.arrays import (
    Array,
    Weights,
    are_equal,
    are_near,
    coarser,
    is_uniform,
    signature,
)
from accweight_core.probes.binding.assignment import Assignment, Origin
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.folding import batch_norms
from accweight_core.probes.binding.matching import (
    Candidates,
    candidates_of,
    channels_before_flatten,
    unknown,
)
from accweight_core.probes.binding.recipes import Recipe, recipes_from_one
from accweight_core.probes.binding.recurrent import UNEVEN, regated
from accweight_core.probes.binding.unfolding import unfolded
from accweight_core.schema import Parameter, Role, Run

VALUES = "same values at step {step}"


@dataclass(frozen=True)
class Asked:
    """What the user says about a binding.

    Attributes:
        constants: Patterns of the network's tensors that no checkpoint has.
        unused: Patterns of the checkpoint's tensors that the network does not have.
    """

    constants: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def planned(
    described: Described, run: Run, alignment: Alignment, own: Weights | None, asked: Asked
) -> list[Assignment]:
    """Return where every tensor of a network comes from, in network order.

    Args:
        described: The network.
        run: The run.
        alignment: Which layers correspond.
        own: The checkpoint that has the network's own weights, if there is one.
        asked: What the user says.

    Raises:
        BindingError: If a tensor has no source, or a norm is folded and cannot be undone.
    """
    candidates = candidates_of(described, run, alignment)
    found: dict[str, Assignment] = {}
    for name, shape in described.network.parameters.items():
        if any(fnmatchcase(name, pattern) for pattern in asked.constants):
            found[name] = Assignment(name, tuple(shape), Origin.CONSTANT)
    if own is None:
        _propose(described, candidates, found)
    else:
        _test(described, run, candidates, own, found)
    open_ = [name for name in described.network.parameters if name not in found]
    unfolded(described, run, candidates, own, found, open_)
    _take_uniform(described, run, own, found, open_)
    used = {source for item in found.values() for source in item.sources}
    for name in open_:
        if name not in found and described.is_fill(name) and not _is_wanted(name, candidates, used):
            found[name] = Assignment(name, tuple(described.own[name].shape), Origin.FILL)
    missing = [name for name in open_ if name not in found]
    if missing:
        raise refusals.without_source(missing, described, run, candidates, own, found)
    return [found[name] for name in described.network.parameters]


def _take_uniform(
    described: Described,
    run: Run,
    own: Weights | None,
    found: dict[str, Assignment],
    open_: Sequence[str],
) -> None:
    """Take for tensors of equal elements the one trained tensor that is left with these values.

    A layer scale is such a tensor before training, and exporters give it another name. That it is
    the only one left is no proof.
    """
    if own is None:
        return
    used = {source for item in found.values() for source in item.sources}
    left = [p for p in run.parameters if p.name in own and p.name not in used]
    for name in open_:
        values = described.own[name]
        if name in found or values.size < 2 or not is_uniform(values):
            continue
        equal = [
            p
            for p in left
            if p.role is not Role.BUFFER
            and p.elements == values.size
            and are_equal(own[p.name].reshape(-1), values.reshape(-1), own.dtype(p.name))
        ]
        if len(equal) == 1:
            target = unknown(name, values.shape)
            recipe = next(
                iter(recipes_from_one(unknown(equal[0].name, equal[0].shape), target)), None
            )
            doubt = (
                f"{name}: its elements are all equal at step {own.checkpoint.step}, and only "
                f"{equal[0].name} is left for it; export the graph from a later checkpoint"
            )
            if recipe is not None:
                shape = tuple(values.shape)
                found[name] = Assignment(
                    name, shape, Origin.CHECKPOINT, recipe, 0.5, is_equal=True, doubts=(doubt,)
                )
                left.remove(equal[0])


def _is_wanted(name: str, candidates: Mapping[str, Candidates], used: set[str]) -> bool:
    """Tell whether a tensor of the matched layer is left that could belong here."""
    candidate = candidates.get(name)
    if candidate is None:
        return False
    return any(
        source.name not in used and source.elements == candidate.target.elements
        for source in candidate.sources
    )


def _propose(
    described: Described, candidates: Mapping[str, Candidates], found: dict[str, Assignment]
) -> None:
    """Take what the names and shapes propose."""
    for name, candidate in candidates.items():
        recipe = next(iter([r for r in candidate.recipes if r.told]), None)
        match = candidate.match
        if name in found or recipe is None or (match is None and not candidate.is_named):
            continue
        others = [r.words for r in candidate.recipes if not r.told]
        doubts = (f"{name}: {recipe.words}, or perhaps {others[0]}",) if others else ()
        found[name] = Assignment(
            name,
            candidate.target.shape,
            Origin.CHECKPOINT,
            recipe,
            match.confidence if match else 1.0,
            f"{match.how}: {match.reason}" if match else "name: same name and size",
            doubts=doubts,
        )


# ---------------------------------------------------------------- tested by values


def _test(
    described: Described,
    run: Run,
    candidates: Mapping[str, Candidates],
    weights: Weights,
    found: dict[str, Assignment],
) -> None:
    """Take what gives the network's own values at the checkpoint that has them."""
    matched = {name for c in candidates.values() if c.match for name in c.match.layers_b}
    folded = any(norm.layer not in matched for norm in batch_norms(run.layers))
    test = _Test(described, run, weights, allows_rounding=not folded)
    for name, shape in described.network.parameters.items():
        if name in found:
            continue
        candidate = candidates.get(name)
        recipe, others = test.fitting(name, candidate)
        if recipe is not None:
            evidence = VALUES.format(step=weights.checkpoint.step)
            found[name] = Assignment(
                name,
                tuple(shape),
                Origin.CHECKPOINT,
                recipe,
                evidence=evidence,
                is_equal=True,
                doubts=tuple(others),
            )
    _settle(candidates, found)
    _doubt_divided_layers(candidates, found, described)
    _doubt_uneven_gates(candidates, found)


class _Test:
    """Looks for recipes that give the network's own values at one checkpoint."""

    def __init__(
        self, described: Described, run: Run, weights: Weights, *, allows_rounding: bool
    ) -> None:
        self._allows_rounding = allows_rounding
        self._run = run
        self._described = described
        self._weights = weights
        self._channels = channels_before_flatten(run)
        self._of_size: dict[int, list[Parameter]] = {}
        self._signatures: dict[tuple[str, str], bytes] = {}
        for parameter in run.parameters:
            if parameter.name in weights:
                self._of_size.setdefault(parameter.elements, []).append(parameter)

    def fitting(self, name: str, candidate: Candidates | None) -> tuple[Recipe | None, list[str]]:
        """Return the recipe that gives a tensor's own values, and what speaks against it."""
        own = self._described.own[name]
        proposed = candidate.recipes if candidate else []
        fits = [recipe for recipe in proposed if self._is_equal(name, recipe, own)]
        if not fits and candidate and candidate.stack:
            dtype = self._dtype(name, [s.parameter.name for s in candidate.pieces])
            other = regated(candidate.stack, candidate.pieces, self._weights, own, dtype)
            fits = [other] if other else []
        is_named = candidate is not None and candidate.is_named
        if is_uniform(own) and not fits:
            return None, []  # equal to too much
        elsewhere: list[Recipe] = []
        if not (fits and is_named):
            known = {source for recipe in fits for source in recipe.sources}
            elsewhere = list(self._elsewhere(name, candidate, own, known))
        fits = fits[:1] + [r for r in fits[1:] if not self._is_one_move(fits[0], r)]
        doubts = []
        if len(fits) > 1:
            doubts.append(
                f"{name}: its values at step {self._weights.checkpoint.step} do not tell "
                f"{fits[0].words!r} from {fits[1].words!r}"
            )
        if fits:
            elsewhere = [r for r in elsewhere if not self._are_tied(fits[0], r)]
        if elsewhere and fits:
            doubts.append(self._alike(name, fits[0], elsewhere))
        if not fits and not elsewhere and self._allows_rounding:
            fits = [r for r in proposed if r.told and self._is_near(name, r, own)]
        if elsewhere and not fits:
            first, *others = elsewhere
            elsewhere = [first]
            elsewhere += [r for r in others if not self._are_tied(first, r)]
        if not fits and len(elsewhere) > 1:
            doubts.append(self._alike(name, elsewhere[0], elsewhere[1:]))
        fits = fits or elsewhere
        return (fits[0] if fits else None), doubts

    def _is_one_move(self, recipe: Recipe, other: Recipe) -> bool:
        """Tell whether two recipes put every element of one tensor in the same place."""
        if recipe.sources != other.sources or len(recipe.sources) != 1:
            return False
        shape = self._weights[recipe.sources[0]].shape
        places = {recipe.sources[0]: np.arange(np.prod(shape, dtype=int)).reshape(shape)}
        return bool(np.array_equal(recipe.make(places), other.make(places)))

    def _are_tied(self, recipe: Recipe, other: Recipe) -> bool:
        """Tell whether two recipes give equal values at the first and the last checkpoint, too."""
        ends = (self._run.checkpoints[0], self._run.checkpoints[-1])
        for checkpoint in ends if len(self._run.checkpoints) > 1 else ():
            with Weights(checkpoint) as weights:
                if any(name not in weights for name in (*recipe.sources, *other.sources)):
                    return False
                if not np.array_equal(recipe.make(weights), other.make(weights), equal_nan=True):
                    return False
        return len(self._run.checkpoints) > 1

    def _alike(self, name: str, recipe: Recipe, others: Sequence[Recipe]) -> str:
        names = [recipe.sources[0], *(source for other in others for source in other.sources)]
        listed = ", ".join(dict.fromkeys(names))
        return f"{name}: {listed} are equal at step {self._weights.checkpoint.step}"

    def _elsewhere(
        self, name: str, candidate: Candidates | None, own: Array, known: set[str]
    ) -> Iterator[Recipe]:
        """Yield the recipes from other tensors of that size that give a tensor's own values."""
        target = candidate.target if candidate else unknown(name, own.shape)
        for source in self._of_size.get(own.size, ()):
            if source.name in known or not self._has_values(source.name, name):
                continue
            for recipe in recipes_from_one(source, target, self._channels):
                if self._is_equal(name, recipe, own):
                    yield recipe
                    break

    def _has_values(self, source: str, name: str) -> bool:
        dtype = self._dtype(name, [source])
        key = source, dtype
        if key not in self._signatures:
            self._signatures[key] = signature(self._weights[source], dtype)
        return self._signatures[key] == self._described.signature(name, dtype)

    def _is_near(self, name: str, recipe: Recipe, own: Array) -> bool:
        """Tell whether a recipe gives own values to rounding, as when both sides were folded."""
        known = all(source in self._weights for source in recipe.sources)
        return known and are_near(own, recipe.make(self._weights))

    def _is_equal(self, name: str, recipe: Recipe, own: Array) -> bool:
        if any(source not in self._weights for source in recipe.sources):
            return False
        made = recipe.make(self._weights)
        if recipe.compared is not None:
            made, own = recipe.compared(made), recipe.compared(own)
        return are_equal(made, own, self._dtype(name, recipe.sources))

    def _dtype(self, name: str, sources: Sequence[str]) -> str:
        return coarser(self._described.dtype(name), *map(self._weights.dtype, sources))


def _settle(candidates: Mapping[str, Candidates], found: dict[str, Assignment]) -> None:
    """Drop doubts about which layer a tensor belongs to, if another tensor of its layer tells.

    A bias of zeros has many equals, but not the matrix beside it.
    """
    sure: set[str] = set()
    for name, candidate in candidates.items():
        item = found.get(name)
        if item and item.is_equal and not item.doubts and item.recipe and candidate.match:
            sure.add(candidate.target.layer)
    for name, candidate in candidates.items():
        item = found.get(name)
        if not (item and item.doubts and candidate.target.layer in sure and candidate.match):
            continue
        own = {source.name for source in candidate.sources}
        if candidate.recipes and set(item.sources) <= own and candidate.is_only:
            kept = tuple(d for d in item.doubts if "do not tell" in d)
            found[name] = replace(item, doubts=kept)


def _doubt_uneven_gates(candidates: Mapping[str, Candidates], found: dict[str, Assignment]) -> None:
    """Doubt recurrent layers whose tensors have their gates in orders that do not belong together.

    Each tensor equals one of the checkpoint, but no framework computes with such a layer.
    """
    layers: dict[str, list[str]] = {}
    for name, candidate in candidates.items():
        item = found.get(name)
        if candidate.stack and item and item.recipe:
            layers.setdefault(candidate.target.layer, []).append(name)
    for layer, names in layers.items():
        recipes = [found[name].recipe for name in names]
        orders = {recipe.gates for recipe in recipes if recipe}
        if orders != {()} and (len(orders) > 1 or UNEVEN in orders):
            doubt = f"{layer}: its tensors have their gates in different orders, against each other"
            for name in names:
                found[name] = replace(found[name], doubts=(*found[name].doubts, doubt))


def _doubt_divided_layers(
    candidates: Mapping[str, Candidates], found: dict[str, Assignment], described: Described
) -> None:
    """Doubt what only names tell of a layer whose other tensors come from another layer.

    Where the values show that names were exchanged, a bias of zeros follows the wrong name.
    """
    strange = {
        candidate.target.layer
        for name, candidate in candidates.items()
        if candidate.match
        and (item := found.get(name))
        and not set(item.sources) <= {source.name for source in candidate.sources}
    }
    for name, candidate in candidates.items():
        item = found.get(name)
        if item and candidate.target.layer in strange and is_uniform(described.own[name]):
            doubt = (
                f"{name}: the rest of its layer comes from elsewhere, and its values are all equal"
            )
            found[name] = replace(item, doubts=(*item.doubts, doubt))
