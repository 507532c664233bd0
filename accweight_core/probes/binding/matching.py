"""Candidates for every tensor of a network, from the alignment of its layers with a run's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from accweight_core.alignment.alignment import Alignment, aligned
from accweight_core.alignment.matching.parameters import leaf_of
from accweight_core.alignment.matching.result import How, Match, ParameterMatch
from accweight_core.alignment.matching.values import equal_layers
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.recipes import (
    Recipe,
    recipes_from_one,
    recipes_from_parts,
    recipes_from_whole,
)
from accweight_core.probes.binding.recurrent import Stack, recipe_from_pieces, stacks_of
from accweight_core.runs.name_map import NameMap
from accweight_core.schema import Axis, Checkpoint, Kind, Layer, Parameter, Role, Run

SURE = 0.9
"""Confidence from which a match of layers by names or values needs no other evidence."""


@dataclass
class Candidates:
    """What one tensor of a network may be made of.

    Attributes:
        target: The tensor.
        recipes: Ways to make it, the likeliest first.
        match: The match of its layer; None without one.
        sources: Tensors of the matched layers.
        stack: Its pieces if it is recurrent.
        pieces: Those of the matched layers.
        is_sure: Whether names, or the values of its layer, tell the layer.
        is_only: Whether names and roles tell the tensor among those of the matched layers.
    """

    target: Parameter
    recipes: list[Recipe] = field(default_factory=list)
    match: Match | None = None
    sources: tuple[Parameter, ...] = ()
    stack: Stack | None = None
    pieces: list[Stack] = field(default_factory=list)
    is_sure: bool = False
    is_only: bool = False

    @property
    def is_named(self) -> bool:
        """Whether names and roles, or the values of its layer, tell it down to the tensor."""
        return self.is_sure and self.is_only


def alignment_of(
    described: Described, run: Run, at: Checkpoint | None, name_map: NameMap | None
) -> Alignment:
    """Return how the layers of a network and a run correspond.

    Args:
        described: The network, side a.
        run: The run, side b.
        at: The checkpoint that has the network's own weights; its values are compared.
        name_map: The user's map of layers.
    """
    if at is None:
        return aligned(described.layers, run.layers, name_map=name_map)
    here, there = described.checkpoint.tensors, at.tensors
    return aligned(
        described.layers,
        run.layers,
        name_map=name_map,
        evidence=lambda left, right: equal_layers(left, right, here, there),
        check_all=True,
    )


def candidates_of(described: Described, run: Run, alignment: Alignment) -> dict[str, Candidates]:
    """Return the candidates of every tensor that has a layer, by name."""
    layers = [{layer.name: layer for layer in side} for side in (described.layers, run.layers)]
    channels = channels_before_flatten(run)
    found = {name: Candidates(parameter) for name, parameter in described.parameters.items()}
    for match in alignment.matches:
        ours = [layers[0][name] for name in match.layers_a]
        theirs = [layers[1][name] for name in match.layers_b]
        for candidate in _of_match(match, ours, theirs, channels):
            found[candidate.target.name] = candidate
    sources = {parameter.name: parameter for parameter in run.parameters}
    for name, shape in described.network.parameters.items():
        source = sources.get(name)
        if source is not None and (name not in found or found[name].match is None):
            target, given = unknown(name, shape), unknown(name, source.shape)
            if name in found:
                target, given = found[name].target, source
            recipes = list(recipes_from_one(given, target))
            found[name] = Candidates(target, recipes, is_sure=True, is_only=True)
    return found


def unknown(name: str, shape: Sequence[int]) -> Parameter:
    """Return what is known of a constant that is no parameter of a layer: its shape."""
    axes = (Axis.OTHER,) * len(shape)
    return Parameter(name, "", Kind.OTHER, Role.WEIGHT, tuple(shape), "float32", axes)


def channels_before_flatten(run: Run) -> list[int]:
    """Return the numbers of channels of convolutions if these are stored with channels last."""
    kernels = [
        p
        for p in run.parameters
        if p.kind in (Kind.CONV, Kind.CONV_TRANSPOSE) and len(p.shape) > 2 and Axis.KERNEL in p.axes
    ]
    if not any(p.axes[0] is Axis.KERNEL for p in kernels):
        return []
    lengths = {
        n
        for p in kernels
        for n, axis in zip(p.shape, p.axes, strict=True)
        if axis in (Axis.OUTPUT, Axis.INPUT) and n > 1
    }
    return sorted(lengths)


def _of_match(
    match: Match, ours: Sequence[Layer], theirs: Sequence[Layer], channels: Sequence[int]
) -> Iterator[Candidates]:
    targets = {p.name: p for layer in ours for p in layer.parameters}
    sources = {p.name: p for layer in theirs for p in layer.parameters}
    here, there = stacks_of(ours), stacks_of(theirs)
    if here is not None and there is not None:
        for stack in here:
            recipe = recipe_from_pieces(stack, there)
            yield Candidates(
                stack.parameter,
                [recipe] if recipe else [],
                match,
                tuple(sources.values()),
                stack,
                there,
                is_sure=_is_sure(match),
                is_only=True,
            )
        return
    paired = {name: pair for pair in match.parameters for name in pair.a}
    paired |= _of_equal_size(match, targets, sources)
    for name, target in targets.items():
        pair = paired.get(name)
        recipes = list(_recipes(target, pair, targets, sources, channels)) if pair else []
        yield Candidates(
            target,
            recipes,
            match,
            tuple(sources.values()),
            is_sure=_is_sure(match),
            is_only=pair is not None and _is_told(target, pair, sources),
        )


def _of_equal_size(
    match: Match, targets: dict[str, Parameter], sources: dict[str, Parameter]
) -> dict[str, ParameterMatch]:
    """Return pairs of unmatched tensors that are the only ones of their size on both sides.

    Formats give some vectors other roles, as the slopes of a PReLU.
    """
    left = [t for t in targets.values() if all(t.name not in pair.a for pair in match.parameters)]
    right = [s for s in sources.values() if all(s.name not in pair.b for pair in match.parameters)]
    found = {}
    for target in left:
        here = [t for t in left if t.elements == target.elements]
        there = [s for s in right if s.elements == target.elements]
        if len(here) == len(there) == 1:
            found[target.name] = ParameterMatch((target.name,), (there[0].name,))
    return found


def _is_sure(match: Match) -> bool:
    """Tell whether a layer can only be matched with these, by names or by its own values."""
    by_name = match.how in (How.MAP, How.NAME, How.SIMILAR_NAME, How.VALUES)
    return by_name and match.confidence >= SURE


def _is_told(target: Parameter, pair: ParameterMatch, sources: dict[str, Parameter]) -> bool:
    """Tell whether one tensor of the matched layers is the only one that it can be."""
    if any(leaf_of(sources[name]) == leaf_of(target) for name in pair.b):
        return True
    alike = [p for p in sources.values() if p.elements == target.elements]
    return len(alike) == 1 or sum(p.role is target.role for p in alike) == 1


def _recipes(
    target: Parameter,
    pair: ParameterMatch,
    targets: dict[str, Parameter],
    sources: dict[str, Parameter],
    channels: Sequence[int],
) -> Iterator[Recipe]:
    ours, theirs = [targets[name] for name in pair.a], [sources[name] for name in pair.b]
    if len(theirs) == 1 and len(ours) == 1:
        yield from recipes_from_one(theirs[0], target, channels)
    elif len(ours) == 1:
        yield from recipes_from_parts(theirs, target)
    elif len(theirs) == 1:
        yield from recipes_from_whole(theirs[0], ours, target)
    else:
        for source in theirs:
            if leaf_of(source) == leaf_of(target):
                yield from recipes_from_one(source, target, channels)
