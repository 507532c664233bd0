"""Whole pickled modules of PyTorch: their tensors, with the names that `state_dict()` would give.

`torch.save(model)` pickles every module as an object with `_parameters`, `_buffers` and `_modules`.
No class is needed to read those: names are the keys on the way, in the order of `state_dict()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from accweight_adapters.pickles.values import Claim, Entity, TensorClaim
from accweight_adapters.untrusted import ClaimError

PARTS: Final = ("_parameters", "_buffers", "_modules")

DEEPEST: Final = 200
"""Most modules inside each other; the deepest real networks have 20."""

MOST_NAMES: Final = 100_000
"""Most tensors and modules of a network: a module may occur in two others, and so on twofold."""

MOST_BUFFERS: Final = 1000
"""Most buffers of one module that are not saved."""

Members = tuple[Mapping[str, Claim], Mapping[str, Entity]]
"""Tensors and modules of a module, by name."""


def is_module(value: object) -> bool:
    """Tell whether an object is a module, by its attributes."""
    if not isinstance(value, Entity):
        return False
    return all(isinstance(value.attributes.get(part), dict) for part in PARTS)


def state_of(module: Entity) -> dict[str, Claim]:
    """Return the tensors of a module by the names that `state_dict()` gives.

    Raises:
        ClaimError: If modules contain themselves, or are nested without end.
    """
    return flat_state(module, members_of)


def flat_state(root: Entity, members: Callable[[Entity], Members]) -> dict[str, Claim]:
    """Return the tensors of a tree of modules by dotted name, those of a module before its parts.

    Raises:
        ClaimError: If modules contain themselves, or are nested without end.
    """
    state: dict[str, Claim] = {}
    known: dict[int, Members] = {}
    visited = 0
    waiting: list[tuple[str, Entity, int]] = [("", root, 0)]
    while waiting:
        prefix, module, depth = waiting.pop()
        if id(module) not in known:
            known[id(module)] = members(module)
        tensors, parts = known[id(module)]
        visited += 1 + len(tensors) + len(parts)
        if depth > DEEPEST or visited > MOST_NAMES:
            raise ClaimError("its modules contain each other without end; it is damaged")
        for name, tensor in tensors.items():
            state[prefix + name] = tensor
        inner = [(f"{prefix}{name}.", part, depth + 1) for name, part in parts.items()]
        waiting += reversed(inner)
    return state


def members_of(module: Entity) -> Members:
    """Return parameters and persistent buffers, then the modules inside."""
    attributes = module.attributes
    parameters, buffers, modules = (attributes.get(part) for part in PARTS)
    passing = attributes.get("_non_persistent_buffers_set")
    passing = passing.elements[:MOST_BUFFERS] if isinstance(passing, Entity) else ()
    left_out = {name for name in passing if isinstance(name, str)}
    tensors = dict(_tensors(parameters))
    tensors |= {name: value for name, value in _tensors(buffers) if name not in left_out}
    inner = modules if isinstance(modules, dict) else {}
    return tensors, {str(name): part for name, part in inner.items() if is_module(part)}


def _tensors(values: object) -> Iterator[tuple[str, Claim]]:
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, TensorClaim):
            yield str(name), value
