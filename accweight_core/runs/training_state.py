"""What lies among the tensors of a checkpoint and is not the model: it is left out, and said.

Readers of nested checkpoints find most of it by its keys, and say so by `Role.OPTIMIZER` or a note.
Flat files have only names, and networks have layers called `optimizer_head`, `velocity`, `avg`. So
a name alone is no reason: what is left out has the structure that frameworks write (``state.0.``,
``exp_avg``), or holds the same names and shapes as all of the model, under a prefix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

from accweight_core.schema import BESIDE_MODEL, Description, Role, StoredTensor

Shape = tuple[int, ...]

STATE = re.compile(
    r"(.*_)?optimi[sz]ers?(_\w*)?|optim(_\w*)?|opt|opt_?states?|(lr_?)?schedulers?|grad_?scaler"
)
"""First parts of names of what may be training state."""

LOG = re.compile(r"(.*_)?(rngs?|history|metrics|callbacks?|hparams)(_states?)?")
"""First parts of names of what programs log, which has no matrices."""

MODEL = re.compile(r"(.*_)?(model|module|net|network|params|parameters|weights|state_dict|target)")
"""First parts of names around a whole model."""

LOSS = re.compile(r"(\w+_)?(loss|losses|criterion|criterions|criteria)(_(fn|func|function))?_?\d*")
"""First parts of names of a loss: class weights, the networks of perceptual losses."""

SLOT = re.compile(
    r"exp_avg(_sq(_row|_col)?|_slow|_diff|_inf)?|max_exp_avg_sq|square_avg|acc_delta|grad_avg"
    r"|momentum_buffers?|momentum|moments?_?[12]|adam_[mv]|lamb_[mv]|mean_square|mean_grad"
    r"|first_moment|second_moment|velocity|vhat"
)
"""Words for what optimizers keep for a weight, before or after its name."""

SOUNDING_LIKE_LAYERS: Final = frozenset({"momentum", "momentums", "moment", "moments", "velocity"})
"""Such words that networks have too: as a prefix, they need all of the model behind them."""

PAIRS: Final = (("m", "v"), ("mu", "nu"))
"""Short words for the same; they are layers too, so both must hold all of the model."""

LIKE_LAYERS: Final = SOUNDING_LIKE_LAYERS.union(*PAIRS)

IN_STATE = re.compile(
    r"(^|\.)(state\.[0-9]+|param_groups|trace|count)(\.|$)|^([0-9]+\.)*(m|v|mu|nu)(\.|$)"
)
"""What is in the names below optimizers of torch (``state.0.``) and optax (``mu``)."""

PREFIXED = re.compile(r"(moment_[12]|update_count)_(?P<owner>.+)", re.IGNORECASE)
"""Names of the optimizer's tensors in ONNX files that ONNX Runtime exported while training."""

COPY = re.compile(r"(^|[_-])(ema|swa|avg|averaged?|shadow)([_-]|$)")
"""First parts of names of averaged copies."""

SCALES: Final = frozenset({"alpha", "scale", "scaling"})

ADAPTER = re.compile(r"(?:^|\.)(?:lora_|hada_|lokr_|oft_|dora_|glora_)")
"""Beginnings of the names of an adapter's matrices, below their module."""

GLORA = re.compile(r"(?:^|\.)([ab][12])\.")
"""The matrices of GLoRA, whose names say no more; an adapter has all `GLORA_PARTS`."""

GLORA_PARTS: Final = 4

MOST_NAMED: Final = 3

MOST_MODELS: Final = 64
"""Groups called a model that others are compared with: a file may name thousands."""

LONGEST: Final = 1000
"""Longest name that is understood; real ones have fewer than 200 characters."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is left out of one checkpoint, and why.

    Attributes:
        names: Names of the tensors.
        notes: A note for each kind.
        copies: Names in averaged copies and those of the same tensors of the model, by first part.
    """

    names: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    copies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def weights_alone(description: Description) -> Description:
    """Return a description without training state, losses, averaged copies and constants.

    Each kind is named in one note, and copies are kept apart. A checkpoint of nothing else stays as
    it is, and so does what the file itself calls the model, whatever its layers are called.
    """
    tensors = description.tensors
    told = frozenset(tensor.name for tensor in tensors if tensor.hints.role is Role.OPTIMIZER)
    if description.is_model and not told:
        return description
    found = _beside(tuple((tensor.name, tensor.shape) for tensor in tensors), told)
    kept = tuple(tensor for tensor in tensors if tensor.name not in found.names)
    if not found.names or not kept:
        return description
    notes = tuple(dict.fromkeys((*description.notes, *found.notes)))
    copies = {key: _copied(tensors, kept, same) for key, same in found.copies.items()}
    return replace(description, tensors=kept, notes=notes, copies={**copies, **description.copies})


def _copied(
    tensors: Sequence[StoredTensor], kept: Sequence[StoredTensor], same: Mapping[str, str]
) -> tuple[StoredTensor, ...]:
    """Return the tensors of a copy by the names of the model, in its order."""
    by_name = {same[t.name]: t for t in tensors if t.name in same}
    return tuple(
        replace(by_name[t.name], name=t.name, hints=t.hints) for t in kept if t.name in by_name
    )


@lru_cache(maxsize=8)
def _beside(tensors: tuple[tuple[str, Shape], ...], told: frozenset[str]) -> _Beside:
    """Return what is not the model; cached, as the checkpoints of a run share their names."""
    shapes = dict(tensors)
    notes: list[str] = []
    state = {name: _first(name) for name in shapes if name in told}
    untold = {name: shape for name, shape in shapes.items() if name not in told}
    models = _models(untold)
    state |= _states(untold, models)
    rest = {name: shape for name, shape in shapes.items() if name not in state}
    state |= {name: name for name in _slots(rest, models)}
    same = _copies({name: shape for name, shape in rest.items() if name not in state}, models)
    copies = {name: first for first, names in same.items() for name in names}
    losses = {
        name: _first(name)
        for name in rest
        if name not in state and name not in copies and LOSS.fullmatch(_lead(name))
    }
    constants = {name: name for name in _constants(rest)}
    kinds = (
        (state, "training state, not weights"),
        (copies, f"an averaged copy {BESIDE_MODEL}"),
        (losses, "the loss, not the model"),
        (constants, "constants that scale the matrices beside them, not trained"),
    )
    names: set[str] = set()
    for kind, what in kinds:
        if kind and len(names | kind.keys()) < len(shapes):
            names |= kind.keys()
            notes.append(f"left out {_few(kind.values())}: {what}")
    same = {first: pairs for first, pairs in same.items() if names.issuperset(pairs)}
    return _Beside(frozenset(names), tuple(notes), same)


def _first(name: str) -> str:
    return name.partition(".")[0]


def _lead(name: str) -> str:
    """Return the first part of a name in lower case, '' if it has no other, or is that of none."""
    first, dot, _ = name.partition(".")
    return first.lower() if dot and len(first) <= LONGEST else ""


Groups = dict[str, dict[str, Shape]]
"""Tensors by the first part of their names, then by the rest."""


def _groups(shapes: Mapping[str, Shape], is_wanted: Callable[[str], object]) -> Groups:
    """Return the tensors whose first part is wanted, in lower case, for a reason."""
    groups: Groups = {}
    for name, shape in shapes.items():
        if is_wanted(_lead(name)):
            groups.setdefault(_first(name), {})[_below(name)] = shape
    return groups


class _Whole:
    """All tensors of a model, or of something that may be a twin of it, without their dots.

    Names of modules of PyTorch cannot have any, so some copies are kept by such names.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes

    @cached_property
    def all(self) -> set[tuple[str, Shape]]:
        """Names and shapes."""
        return {
            (name.removeprefix("module.").replace(".", ""), shape)
            for name, shape in self._shapes.items()
        }

    @cached_property
    def matrices(self) -> set[tuple[str, Shape]]:
        """Names and shapes of what has two axes or more."""
        return {each for each in self.all if len(each[1]) > 1}

    def has_twin(self, other: _Whole) -> bool:
        """Tell whether another one holds all of the matrices, and nothing but numbers else."""
        if not self.all or not (self.matrices or self.all) <= other.all:
            return False
        return all(math.prod(shape) <= 1 for _, shape in other.all - self.all)


def _models(shapes: Mapping[str, Shape]) -> list[_Whole]:
    """Return what may be all of a model: everything else, and the groups that are called one."""
    plain = {name: shape for name, shape in shapes.items() if not _is_suspect(_lead(name))}
    called = islice(_groups(plain, MODEL.fullmatch).values(), MOST_MODELS)
    return [_Whole(plain), *map(_Whole, called)]


@lru_cache(maxsize=1 << 12)
def _is_suspect(lead: str) -> bool:
    """Tell whether the first part of a name sounds like something beside a model."""
    patterns = (STATE.fullmatch, LOG.fullmatch, LOSS.fullmatch, SLOT.fullmatch, COPY.search)
    return lead in LIKE_LAYERS or any(pattern(lead) for pattern in patterns)


def _twins(groups: Groups, models: Sequence[_Whole]) -> set[str]:
    """Return the groups that hold what a model holds."""
    found = set()
    for first, members in groups.items():
        other = _Whole(members)
        if any(model.has_twin(other) for model in models):
            found.add(first)
    return found


def _states(shapes: Mapping[str, Shape], models: Sequence[_Whole]) -> dict[str, str]:
    """Return the names in training state with a prefix that says so, by their first part."""
    groups, logs = _groups(shapes, STATE.fullmatch), _groups(shapes, LOG.fullmatch)
    found = {first for first, members in logs.items() if not _is_layer(members)}
    if groups:
        found |= _twins(groups, models)
        found |= {first for first, members in groups.items() if _is_kept_by_optimizer(members)}
    return {
        f"{first}.{name}": first
        for first, members in (groups | logs).items()
        if first in found
        for name in members
    }


def _is_layer(members: Mapping[str, Shape]) -> bool:
    """Tell whether tensors below a prefix have matrices, or names that only layers have."""
    return any(
        len(shape) > 1 or name.rpartition(".")[2] in ("weight", "bias")
        for name, shape in members.items()
    )


def _is_kept_by_optimizer(members: Mapping[str, Shape]) -> bool:
    """Tell whether names below a prefix are those of an optimizer, or nothing but numbers."""
    if all(math.prod(shape) <= 1 for shape in members.values()):
        return True
    return any(
        IN_STATE.search(name) or any(map(SLOT.fullmatch, name.lower().split(".")))
        for name in members
    )


def _slots(shapes: Mapping[str, Shape], models: Sequence[_Whole]) -> list[str]:
    """Return the names of tensors that an optimizer keeps for another one."""
    bare = {
        _below(name): shape
        for name, shape in shapes.items()
        if "." in name and not SLOT.fullmatch(_lead(name))
    }
    wholes = _whole_slots(shapes, models)
    found = []
    for name, shape in shapes.items():
        first, _, after = name.partition(".")
        before, _, last = name.rpartition(".")
        prefixed = PREFIXED.fullmatch(name)
        is_slot = SLOT.fullmatch(first.lower()) and first.lower() not in SOUNDING_LIKE_LAYERS
        signs = (
            first in wholes,
            is_slot and shape in (shapes.get(after), bare.get(after)),
            SLOT.fullmatch(last.lower()) and shapes.get(before) == shape,
            prefixed and prefixed["owner"] in shapes,
        )
        if any(signs):
            found.append(name)
    return found


def _whole_slots(shapes: Mapping[str, Shape], models: Sequence[_Whole]) -> set[str]:
    """Return the first parts that sound like layers, but hold a twin of all of the model."""
    groups = _groups(shapes, LIKE_LAYERS.__contains__)
    twins = _twins(groups, models)
    paired = {word for pair in PAIRS if twins.issuperset(pair) for word in pair}
    return {first for first in twins if first in paired or first.lower() in SOUNDING_LIKE_LAYERS}


def _copies(shapes: Mapping[str, Shape], models: Sequence[_Whole]) -> dict[str, dict[str, str]]:
    """Return the names in averaged copies and what the model calls the same, by first part.

    ``model_ema`` is a copy of ``model`` if there is one, else of the whole. Copies may have the
    dots of the names removed, as module names cannot have any. What the model lacks has its own
    name.
    """
    groups = _groups(shapes, COPY.search)
    if not groups:
        return {}
    found = _twins(groups, models)
    parts = _groups(shapes, bool)
    for first in groups.keys() - found:
        own = COPY.sub("", first)
        if own in parts and not own.isdecimal():
            found |= _twins({first: groups[first]}, [_Whole(parts[own])])
    others = [(name, shape) for name, shape in shapes.items() if _first(name) not in groups]
    known = {(_below(name).replace(".", ""), shape): name for name, shape in others}
    known |= {(name.replace(".", ""), shape): name for name, shape in others}
    return {
        first: {
            f"{first}.{name}": _called(name, shape, known) or f"{first}.{name}"
            for name, shape in groups[first].items()
        }
        for first in groups
        if first in found
    }


def _called(name: str, shape: Shape, known: Mapping[tuple[str, Shape], str]) -> str:
    """Return what the model calls a tensor of a copy; empty if it has none such."""
    ways = name, name.removeprefix("module.")
    return next((n for w in ways if (n := known.get((w.replace(".", ""), shape), ""))), "")


def _below(name: str) -> str:
    """Return a name without its first part."""
    return name.partition(".")[2]


def _constants(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the single numbers that scale the matrices of an adapter, as `alpha` does."""
    scales = {
        name: name.rpartition(".")[0]
        for name, shape in shapes.items()
        if name.rpartition(".")[2] in SCALES and shape in ((), (1,))
    }
    if not scales:
        return []
    names = [name for name in shapes if len(name) <= LONGEST]
    adapted = {name[: match.start()] for name in names for match in ADAPTER.finditer(name)}
    glora: dict[str, set[str]] = {}
    for name in names:
        for match in GLORA.finditer(name):
            glora.setdefault(name[: match.start()], set()).add(match[1])
    adapted |= {module for module, parts in glora.items() if len(parts) == GLORA_PARTS}
    return [name for name, module in scales.items() if module in adapted]


def _few(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - MOST_NAMED} more" if len(unique) > MOST_NAMED else ""
    return ", ".join(ascii(name) for name in unique[:MOST_NAMED]) + more
