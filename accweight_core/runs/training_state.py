"""What lies among the tensors of a checkpoint and is not the model: it is left out, and said.

Readers of nested checkpoints find most of it by its keys, and say so by `Role.OPTIMIZER` or a note.
Flat files have only names. Then a name counts as training state if its first part says so, or if it
is the name of another tensor of the same shape with a word such as ``exp_avg`` before or after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from accweight_core.schema import Description, Role, StoredTensor

Shape = tuple[int, ...]

STATE = re.compile(
    r"(.*_)?optimi[sz]ers?(_\w*)?|optim(_\w*)?|opt|opt_?states?|(lr_?)?schedulers?|grad_?scaler"
)
"""First parts of names of training state; layers are called `scaler` too, so that is not one."""

LOSS = re.compile(r"(\w+_)?(loss|losses|criterion|criterions|criteria)(_(fn|func|function))?_?\d*")
"""First parts of names of a loss: class weights, the networks of perceptual losses."""

SLOT = re.compile(
    r"exp_avg(_sq|_slow|_diff|_inf)?|max_exp_avg_sq|square_avg|acc_delta|grad_avg|momentum(_buffer)?s?"
    r"|moments?_?[12]?|adam_[mv]|lamb_[mv]|mean_square|mean_grad|first_moment|second_moment"
    r"|velocity|vhat"
)
"""Words for what optimizers keep for a weight, before or after its name."""

PAIRS: Final = (("m", "v"), ("mu", "nu"))
"""Short words for the same; they are layers of attention too, so both must be there, for all."""

PREFIXED = re.compile(r"(moment_[12]|update_count)_(?P<owner>.+)", re.IGNORECASE)
"""Names of the optimizer's tensors in ONNX files that ONNX Runtime exported while training."""

COPY = re.compile(r"(^|[_-])(ema|swa|avg|averaged?|shadow)([_-]|$)")
"""First parts of names of averaged copies."""

ADAPTER = re.compile(r"lora_|hada_|lokr_|oft_|dora_|glora_|b[12]\.|a[12]\.")
"""Beginnings of the names of an adapter's matrices, below their module."""

MOST_NAMED: Final = 3


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
    it is.
    """
    tensors = description.tensors
    told = frozenset(tensor.name for tensor in tensors if tensor.hints.role is Role.OPTIMIZER)
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
    state = {name: _first(name) for name in shapes if name in told or STATE.fullmatch(_lead(name))}
    rest = {name: shape for name, shape in shapes.items() if name not in state}
    state |= {name: name for name in _slots(rest)}
    same = _copies({name: shape for name, shape in rest.items() if name not in state})
    copies = {name: first for first, names in same.items() for name in names}
    losses = {
        name: _first(name)
        for name in rest
        if name not in state and name not in copies and LOSS.fullmatch(_lead(name))
    }
    constants = {name: name for name in rest if _is_constant(name, rest[name], rest)}
    kinds = (
        (state, "training state, not weights"),
        (copies, "an averaged copy beside the model itself"),
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
    """Return the first part of a name in lower case, '' if it has no other."""
    first, dot, _ = name.partition(".")
    return first.lower() if dot else ""


def _slots(shapes: Mapping[str, Shape]) -> list[str]:
    """Return the names of tensors that an optimizer keeps for another one."""
    bare = {_below(name): shape for name, shape in shapes.items() if "." in name}
    found = []
    pairs = {word for pair in PAIRS if _is_whole(pair, shapes) for word in pair}
    for name, shape in shapes.items():
        first, _, after = name.partition(".")
        before, _, last = name.rpartition(".")
        prefixed = PREFIXED.fullmatch(name)
        signs = (
            first in pairs,
            SLOT.fullmatch(first.lower()) and shape in (shapes.get(after), bare.get(after)),
            SLOT.fullmatch(last.lower()) and shapes.get(before) == shape,
            prefixed and prefixed["owner"] in shapes,
        )
        if any(signs):
            found.append(name)
    return found


def _is_whole(pair: Sequence[str], shapes: Mapping[str, Shape]) -> bool:
    """Tell whether both parts of a pair hold the same tensors, which the others hold as well."""
    inside = [
        {(_below(name), shape) for name, shape in shapes.items() if _first(name) == word}
        for word in pair
    ]
    others = {name: shape for name, shape in shapes.items() if _first(name) not in pair}
    bare = {(_below(name), shape) for name, shape in others.items()}
    known = {*others.items(), *bare}
    matrices = sum(len(shape) > 1 for _, shape in inside[0])
    return inside[0] == inside[1] != set() and inside[0] <= known and matrices > 1


def _copies(shapes: Mapping[str, Shape]) -> dict[str, dict[str, str]]:
    """Return the names in averaged copies and what the model calls the same, by first part.

    Copies may have the dots of the names removed, as module names cannot have any. What the model
    lacks has its own name.
    """
    groups: dict[str, list[str]] = {}
    for name in shapes:
        if COPY.search(_lead(name)):
            groups.setdefault(_first(name), []).append(name)
    if not groups:
        return {}
    others = [(name, shape) for name, shape in shapes.items() if _first(name) not in groups]
    known = {(_below(name).replace(".", ""), shape): name for name, shape in others}
    known |= {(name.replace(".", ""), shape): name for name, shape in others}
    found: dict[str, dict[str, str]] = {}
    for first, members in groups.items():
        pairs = {member: _called(member, shapes[member], known) for member in members}
        if 2 * sum(name != "" for name in pairs.values()) > len(members):
            found[first] = {member: name or member for member, name in pairs.items()}
    return found


def _called(member: str, shape: Shape, known: Mapping[tuple[str, Shape], str]) -> str:
    """Return what the model calls a tensor of a copy; empty if it has none such."""
    ways = _below(member), _below(member).removeprefix("module.")
    return next((n for w in ways if (n := known.get((w.replace(".", ""), shape), ""))), "")


def _below(name: str) -> str:
    """Return a name without its first part."""
    return name.partition(".")[2]


def _is_constant(name: str, shape: Shape, shapes: Mapping[str, Shape]) -> bool:
    """Tell whether a single number scales the matrices of an adapter, as `alpha` does."""
    module, _, last = name.rpartition(".")
    if last not in ("alpha", "scale", "scaling") or shape not in ((), (1,)):
        return False
    prefix = f"{module}." if module else ""
    return any(
        other.startswith(prefix) and ADAPTER.match(other.removeprefix(prefix)) for other in shapes
    )


def _few(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - MOST_NAMED} more" if len(unique) > MOST_NAMED else ""
    return ", ".join(ascii(name) for name in unique[:MOST_NAMED]) + more
