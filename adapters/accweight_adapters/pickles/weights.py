"""Find the weights in a training script's checkpoint.

A checkpoint may be the state dict itself, or contain it under `model`, `state_dict`, `net`, next to
optimizer states, averaged copies, losses and counters, and in several wrappers; the model may also
be a whole module. The content is first flattened to paths of keys (`tree`), each mapping once, and
all decisions are based on those paths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from accweight_adapters.measures import names_measure
from accweight_adapters.model_keys import without_copies, wraps_model
from accweight_adapters.pickles.calls import UNINITIALISED
from accweight_adapters.pickles.modules import is_module
from accweight_adapters.pickles.tree import (
    Entry,
    Leaf,
    Path,
    Walk,
    is_fractional,
    mapping_of,
    opened,
)
from accweight_adapters.pickles.values import Claim, Entity, TensorClaim
from accweight_adapters.untrusted import ClaimError, checked_name, quoted, quoted_few, step_among
from accweight_core.naming import without_wrappers

STEP = re.compile(r"((epoch|step|iter(ation)?|ckpt|checkpoint)s?[_ -]?)?[0-9]{1,12}")
"""Keys of networks that may be steps of a run: numbers, also after a word for a step."""

LOSSES = re.compile(r"(.*_)?(criterions?|loss(es)?)(_?(fn|func|function|module))?")
"""Keys of loss modules, whose class weights and centres are not the network's."""


@dataclass(slots=True)
class Weights:
    """The weights of a checkpoint.

    Attributes:
        tensors: The weights by name, in the file's order.
        notes: What was left out or kept unchanged, and why.
        copies: Averaged copies of the model that were left out, by key: their weights by name.
        are_modules: Whether they all come from pickled modules, so that each is the model's.
    """

    tensors: dict[str, Claim] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    copies: dict[str, dict[str, Claim]] = field(default_factory=dict)
    are_modules: bool = False


def find_weights(content: object) -> Weights:
    """Return the weights in `content`, with the names of the model's own state dict.

    Only where there are none in mappings and modules, lists of tensors and the attributes of other
    objects are searched too.

    Raises:
        ClaimError: If there are none, or if names are invalid or clash.
    """
    content = opened(content)
    weights, walk = Weights(), Walk()
    entries = _without_training_state(walk.leaves(content), weights.notes)
    entries = _of_one_kind(_initialised(entries, weights.notes), weights.notes)
    nameless = [".".join(path) for path in walk.passed if path and not names_measure(path[-1])]
    if entries and nameless:
        what = "lists of tensors without names, beside named ones"
        weights.notes.append(f"left out {quoted_few(nameless)}: {what}")
    if not entries:
        walk = Walk(everywhere=True)
        entries = _without_training_state(walk.leaves(content), [])
        entries = _of_one_kind(_initialised(entries, []), weights.notes)
    if not entries:
        told = [*weights.notes[:1], *_steps_note([leaf[:2] for leaf in Walk().leaves(content)])]
        beside = "".join(f"; {note}" for note in told)
        kind = f"; it is a pickled {quoted(_kind(content))}" if is_object(content) else ""
        raise ClaimError(f"holds no weights: no tensor by a name in a mapping{kind}{beside}")
    weights.notes += _steps_note(entries)
    if is_object(content):
        weights.notes.append(f"taken from the attributes of a pickled {quoted(_kind(content))}")
    for path, tensor in _models(entries, weights):
        name = checked_name(".".join(path))
        if name in weights.tensors:
            raise ClaimError(f"holds two tensors that would both be called {quoted(name)}")
        weights.tensors[name] = tensor
    weights.are_modules = all(id(claim) in walk.in_modules for claim in weights.tensors.values())
    return weights


def _steps_note(entries: Sequence[Entry]) -> list[str]:
    """Return a remark if all that a file holds is one network again and again, as by epoch."""
    while entries and len({path[0] for path, _ in entries}) == 1 and len(entries[0][0]) > 1:
        entries = [(path[1:], tensor) for path, tensor in entries if len(path) > 1]
    networks: dict[str, dict[Path, tuple[int, ...]]] = {}
    for path, tensor in entries:
        if len(path) == 1 or not STEP.fullmatch(path[0].lower()):
            return []
        networks.setdefault(path[0], {})[path[1:]] = tensor.shape
    first = next(iter(networks.values()), {})
    is_network = len(first) > 1 and any(len(shape) > 1 for shape in first.values())
    if not is_network or len(networks) == 1 or any(n != first for n in networks.values()):
        return []
    names = list(networks)
    what = f"{len(names)} networks of the same names and shapes"
    way = "load the file and call aw.open_run([...]) with them"
    span = f"{quoted(names[0])} to {quoted(names[-1])}"
    return [f"holds {what}, {span}: if each is a step of one run, {way}"]


def _kind(content: object) -> str:
    return content.kind if isinstance(content, Entity) else ""


def is_object(content: object) -> bool:
    """Tell whether a content is one object, neither a mapping nor a module."""
    if not isinstance(content, Entity) or content or is_module(content):
        return False
    return bool(content.kind) and not mapping_of(content, attributes=False)


def find_step(content: object) -> tuple[int, str] | None:
    """Return the step next to the weights and its key, or None."""
    content = mapping_of(content)
    return step_among(content)


def _without_training_state(leaves: list[Leaf], notes: list[str]) -> list[Entry]:
    """Return all tensors and arrays except training state."""
    left_out = list(dict.fromkeys(within for *_, within in leaves if within is not None))
    if left_out:
        what = "everything" if left_out == [()] else quoted_few(list(map(".".join, left_out)))
        notes.append(f"left out {what}: training state, not weights")
    return [(path, tensor) for path, tensor, within in leaves if within is None]


def _initialised(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """Leave out the parameters of lazy modules that have no shape yet."""
    lazy = [".".join(path) for path, tensor in entries if tensor.refusal == UNINITIALISED]
    if lazy:
        notes.append(f"left out {quoted_few(lazy)}: {UNINITIALISED}")
    return [entry for entry in entries if entry[1].refusal != UNINITIALISED]


def _of_one_kind(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """Return the tensors, and the arrays among them; other arrays are left out.

    Programs that save tensors keep statistics of the data and random states as arrays. An array is
    a weight if it lies in a mapping of tensors, named like them: `fc.bias` beside `fc.weight`.
    """
    modules: dict[Path, set[str]] = {}
    for path, tensor in entries:
        if isinstance(tensor, TensorClaim):
            modules.setdefault(path[:-1], set()).add(path[-1].rpartition(".")[0])
    if not modules:
        return entries
    kept, others = [], list[str]()
    for path, tensor in entries:
        name, beside = path[-1], modules.get(path[:-1], set())
        may_be_weight = tensor.shape and is_fractional(tensor) and not names_measure(name)
        is_named_alike = bool(beside - {""}) if "." in name else beside == {""}
        if isinstance(tensor, TensorClaim) or (is_named_alike and may_be_weight):
            kept.append((path, tensor))
        elif may_be_weight:
            others.append(".".join(path))
    if others:
        notes.append(f"left out {quoted_few(others)}: arrays beside tensors, not among them")
    return kept


def _models(entries: list[Entry], weights: Weights) -> list[Entry]:
    """Remove wrapping keys; several models side by side keep their keys."""
    notes = weights.notes
    direct, groups = _grouped(entries)
    is_beside = any("." in path[0] for path, _ in direct)
    whole = groups
    groups = without_copies(groups, notes, is_model_beside=is_beside)
    for key in whole:
        if key in groups:
            continue
        copy = _models(whole[key], Weights())
        weights.copies.setdefault(key, {".".join(path): tensor for path, tensor in copy})
    groups = _without_losses(groups, notes)
    if any(_is_model(key, group) for key, group in groups.items()):
        direct = _without_strays(direct, notes)
    if not groups:
        return _unwrapped_names(direct, notes)
    if not direct and len(groups) == 1:
        ((key, group),) = groups.items()
        if _is_model(key, group):
            return _models(group, weights)
    found = list(direct)
    for key, group in groups.items():
        found += [((key, *path), tensor) for path, tensor in _models(group, weights)]
    return found


def _without_losses(groups: dict[str, list[Entry]], notes: list[str]) -> dict[str, list[Entry]]:
    """Leave out loss modules next to models."""
    losses = {key: None for key in groups if LOSSES.fullmatch(key.lower())}
    if len(losses) == len(groups):
        return groups
    if losses:
        notes.append(f"left out {quoted_few([*losses])}: the loss, not the network")
    return {key: group for key, group in groups.items() if key not in losses}


def _grouped(entries: list[Entry]) -> tuple[list[Entry], dict[str, list[Entry]]]:
    """Return the tensors at this level, and the deeper ones by first key."""
    direct: list[Entry] = []
    groups: dict[str, list[Entry]] = {}
    for path, tensor in entries:
        if len(path) == 1:
            direct.append((path, tensor))
        else:
            groups.setdefault(path[0], []).append((path[1:], tensor))
    return direct, groups


def _is_model(key: str, group: list[Entry]) -> bool:
    """Tell a model from a layer: by its key, or by names with several parts."""
    if wraps_model(key):
        return True
    return any(len(path) > 1 or "." in path[0] or "/" in path[0] for path, _ in group)


def _without_strays(direct: list[Entry], notes: list[str]) -> list[Entry]:
    """Leave out tensors next to models (a loss, fixed noise), except those named as weights."""
    if not direct or any("." in path[0] for path, _ in direct):
        return direct
    names = [".".join(path) for path, _ in direct]
    notes.append(f"left out {quoted_few(names)}: tensors beside the model, not in it")
    return []


def _unwrapped_names(entries: list[Entry], notes: list[str]) -> list[Entry]:
    """Remove the prefixes of wrappers from names, unless two names would become equal."""
    names = [path[0] for path, _ in entries]
    bare = without_wrappers(names)
    if bare == names:
        return entries
    if len(set(bare)) < len(names) or "" in bare:
        notes.append("names keep their wrapping prefixes: without them two would be the same")
        return entries
    return [((name,), tensor) for name, (_, tensor) in zip(bare, entries, strict=True)]
