"""Find the model in the trees that JAX programs save.

A tree has the parameters, directly or in collections (`params`, `batch_stats`), and next to them
the state of an optimizer, a step, copies. Orbax may split it into several items. The rules are
those for torch checkpoints: training state is left out, wrapping keys are removed, several models
are kept apart by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from accweight_adapters.measures import measures_in
from accweight_adapters.model_keys import (
    MAX_DEPTH,
    TRAINING_STATE,
    left_out_numbers,
    without_copies,
    wraps_model,
)
from accweight_adapters.network_order import natural
from accweight_adapters.untrusted import STEP_KEYS, ClaimError, checked_name, quoted, quoted_few

Keys = tuple[str, ...]
"""Keys on the path to a leaf."""

PARAMETERS: Final = "params"
WRAPPERS: Final = frozenset({"default", "variables", "target", "items"})
"""Keys around a model, in addition to those of torch programs."""

BOX: Final = "value"
"""Key of the value inside a flax.nnx variable."""

FIRST: Final = frozenset({"kernel", "embedding", "scale", "weight"})
"""Variables that come before the others of their module."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One leaf of the model.

    Attributes:
        name: Name of the tensor.
        keys: Its keys in the whole tree.
        is_state: Whether it is state without a gradient.
    """

    name: str
    keys: Keys
    is_state: bool = False


@dataclass(slots=True)
class Choice:
    """The result for one tree.

    Attributes:
        model: The leaves of the model, in network order as far as names reveal it.
        beside: Keys of the scalar leaves next to the model (steps, losses), by name.
        notes: What was left out, and why.
    """

    model: list[Chosen] = field(default_factory=list)
    beside: dict[str, Keys] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf and its remaining keys."""

    names: Keys
    keys: Keys
    has_axes: bool
    is_state: bool = False

    def below(self, *, is_state: bool = False) -> _Leaf:
        """Return it without its first key."""
        return _Leaf(self.names[1:], self.keys, self.has_axes, self.is_state or is_state)


def choose(leaves: Mapping[Keys, bool], extras: Callable[[str], bool] | None = None) -> Choice:
    """Return the leaves of the model.

    Args:
        leaves: Whether each leaf has axes, by its keys.
        extras: Tells whether a first key holds training state although its name does not say so.

    Raises:
        ClaimError: If there are none, or if names are invalid or clash.
    """
    choice = Choice()
    found = _without_training_state(_unboxed(leaves), choice.notes, extras)
    chosen = _models(found, choice)
    if not chosen:
        beside = f"; {choice.notes[0]}" if choice.notes else ""
        raise ClaimError(f"holds no weights: no array by a name in a tree{beside}")
    names: set[str] = set()
    for leaf in chosen:
        name = checked_name(".".join(leaf.names))
        if name in names:
            raise ClaimError(f"holds two arrays that would both be called {quoted(name)}")
        names.add(name)
        choice.model.append(Chosen(name, leaf.keys, leaf.is_state))
    choice.model = _in_order(choice.model)
    strays = [n for n in choice.beside if n not in STEP_KEYS and not measures_in({n: 0.5})]
    if strays:
        choice.notes.append(left_out_numbers(strays))
    return choice


def _unboxed(leaves: Mapping[Keys, bool]) -> list[_Leaf]:
    """Return the leaves, with the inner key of nnx variables removed."""
    siblings: dict[Keys, int] = {}
    for keys in leaves:
        if len(keys) > MAX_DEPTH:
            raise ClaimError(f"nests its arrays more than {MAX_DEPTH} deep")
        for depth in range(1, len(keys) + 1):
            if depth == len(keys):
                siblings[keys[:-1]] = siblings.get(keys[:-1], 0) + 1
            else:
                siblings[keys[:depth]] = siblings.get(keys[:depth], 0)
    nested = {keys[:-1] for keys in siblings}
    return [
        _Leaf(keys[:-1] if _is_box(keys, siblings, nested) else keys, keys, has_axes)
        for keys, has_axes in leaves.items()
    ]


def _is_box(keys: Keys, siblings: Mapping[Keys, int], nested: set[Keys]) -> bool:
    alone = siblings[keys[:-1]] == 1 and keys[:-1] not in nested
    return len(keys) > 1 and keys[-1] == BOX and alone


def _without_training_state(
    leaves: Iterable[_Leaf], notes: list[str], extras: Callable[[str], bool] | None
) -> list[_Leaf]:
    kept, found = [], dict[Keys, None]()
    for leaf in leaves:
        above = takewhile(lambda key: key != PARAMETERS, leaf.names)  # all below is the model's
        state = next((n for n, key in enumerate(above, 1) if is_training_state(key)), 0)
        if extras is not None and extras(leaf.names[0]):
            state = 1
        if state:
            found[leaf.names[:state]] = None
        else:
            kept.append(leaf)
    left_out = list(map(".".join, found))
    if left_out:
        notes.append(f"left out {quoted_few(left_out)}: training state, not weights")
    return kept


def is_training_state(key: str) -> bool:
    """Tell whether a key holds optimizer state or the like."""
    return TRAINING_STATE.search(key.lower()) is not None


def _models(leaves: list[_Leaf], choice: Choice) -> list[_Leaf]:
    """Remove wrapping keys; several models side by side keep theirs."""
    direct = [leaf for leaf in leaves if len(leaf.names) == 1]
    groups: dict[str, list[_Leaf]] = {}
    for leaf in leaves:
        if len(leaf.names) > 1:
            groups.setdefault(leaf.names[0], []).append(leaf)
    groups = without_copies(groups, choice.notes)
    if any(map(_is_wrapper, groups)):
        direct = _without_strays(direct, choice)
    if PARAMETERS in groups and not any(_is_wrapper(key) for key in groups if key != PARAMETERS):
        return direct + _collections(groups, choice)
    if len(groups) == 1 and not direct:
        ((key, group),) = groups.items()
        if _is_wrapper(key):
            return _models([leaf.below() for leaf in group], choice)
    return direct + [leaf for group in groups.values() for leaf in group]


def _is_wrapper(key: str) -> bool:
    return key.lower() in WRAPPERS or wraps_model(key)


def _collections(groups: Mapping[str, list[_Leaf]], choice: Choice) -> list[_Leaf]:
    """Return the parameters, and the other collections of the same modules."""
    parameters = _models([leaf.below() for leaf in groups[PARAMETERS]], choice)
    taken = {leaf.names for leaf in parameters}
    for key, group in groups.items():
        if key == PARAMETERS:
            continue
        state = [leaf.below(is_state=True) for leaf in group]
        if not taken.isdisjoint(leaf.names for leaf in state):
            state = [_Leaf(leaf.names, leaf.keys, leaf.has_axes, True) for leaf in group]
        taken |= {leaf.names for leaf in state}
        parameters += state
    return parameters


def _without_strays(direct: list[_Leaf], choice: Choice) -> list[_Leaf]:
    """Leave out what lies next to models; numbers may be steps or losses."""
    strays = list(dict.fromkeys(".".join(leaf.names) for leaf in direct if leaf.has_axes))
    if strays:
        choice.notes.append(f"left out {quoted_few(strays)}: arrays beside the model, not in it")
    choice.beside |= {leaf.names[0]: leaf.keys for leaf in direct if not leaf.has_axes}
    return []


def _in_order(model: list[Chosen]) -> list[Chosen]:
    """Return leaves in network order: modules in tree order, unless that is alphabetical.

    JAX sorts the keys of mappings; then numbers in names are used. Weights come first in a module.
    """
    modules = list(dict.fromkeys(leaf.keys[:-1] for leaf in model if not leaf.is_state))
    by_number = sorted(modules, key=_natural_keys)
    first = {module: place for place, module in enumerate(modules)}
    if modules in (sorted(modules), by_number):
        return sorted(model, key=_place)
    return sorted(model, key=lambda leaf: (first.get(leaf.keys[:-1], len(first)), _rank(leaf)))


def _natural_keys(keys: Keys) -> list[list[str | int]]:
    return [natural(key) for key in keys]


def _rank(leaf: Chosen) -> tuple[bool, bool, str]:
    last = leaf.name.rpartition(".")[2]
    return leaf.is_state, last not in FIRST, last


def _place(leaf: Chosen) -> tuple[list[list[str | int]], bool, bool, str]:
    return _natural_keys(tuple(leaf.name.split(".")[:-1])), *_rank(leaf)
