"""Find the model's variables in a TensorFlow checkpoint, and name them.

TensorFlow 2 saves a graph of objects: the key of a variable is the first path to it, which for
Keras 3 leads through the optimizer. So the graph is walked from its root, excluding optimizers; all
variables reached are the model, in the order of attributes. TensorFlow 1 saves by name, and names
the slots of optimizers after their variables.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from accweight_adapters.bytes.protobuf import values
from accweight_adapters.model_keys import COPIES, TRAINING_STATE, wraps_model
from accweight_adapters.network_order import natural
from accweight_adapters.untrusted import ClaimError, checked_name, quoted

ATTRIBUTE: Final = "/.ATTRIBUTES/"
SLOT: Final = "/.OPTIMIZER_SLOT/"
OPTIMIZER: Final = "optimizer"
COUNTER: Final = "save_counter"
MOST_NODES: Final = 1 << 20
MOST_DEPTH: Final = 200

SLOT_ENDS = re.compile(
    r"/(adam|adamax|adagrad|momentum|rms_?prop|ftrl|adadelta|lamb|lars)(_[mv]|_\d+)?$|/(m|v|vhat)$",
    re.IGNORECASE,
)
"""Name suffixes of the slots that TensorFlow 1 optimizers keep for a variable."""

AVERAGES: Final = "/ExponentialMovingAverage"
PARTITION = re.compile(r"/part_\d+$")
"""Ending of the parts of a partitioned variable, each of which has slots of its own."""

POWERS = re.compile(r"(^|/)(beta[12]_power|decay|learning_rate|Adam|iter)(_\d+)?$")
UNNAMED: Final = frozenset({"", "Variable"})


@dataclass(frozen=True, slots=True)
class Node:
    """One object: its children by name; full name and key of its variables."""

    children: tuple[tuple[str, int], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Named:
    """The result for one checkpoint.

    Attributes:
        model: Names of the model's variables by key, in network order.
        beside: Names of variables next to the model at the top level (steps), by key.
        optimizer: Keys of the optimizer's counters and learning rates, by name.
        notes: What was left out, and why.
    """

    model: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    optimizer: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def nodes_in(content: bytes) -> list[Node]:
    """Return the objects of a graph (a TrackableObjectGraph).

    Raises:
        ClaimError: If it is damaged.
    """
    nodes = [
        _node(value)
        for number, value in values(content)
        if number == 1 and isinstance(value, bytes)
    ]
    if len(nodes) > MOST_NODES or not nodes:
        raise ClaimError(f"its graph holds {len(nodes)} objects; it is damaged")
    if any(child >= len(nodes) for node in nodes for _, child in node.children):
        raise ClaimError("its graph leads to an object that is not there; it is damaged")
    return nodes


def _node(content: bytes) -> Node:
    children, variables = [], []
    for number, value in values(content):
        if number in (1, 2) and isinstance(value, bytes):
            parts = dict(values(value))
            if number == 1:
                child = parts.get(1, 0)
                children.append((_text(parts.get(2, b"")), child if isinstance(child, int) else 0))
            else:
                variables.append((_text(parts.get(2, b"")), _text(parts.get(3, b""))))
    return Node(tuple(children), tuple(variables))


def _text(value: int | bytes) -> str:
    if not isinstance(value, bytes):
        raise ClaimError("its graph holds a number where a name should be; it is damaged")
    return value.decode("utf-8", "replace")


def named_by_graph(nodes: Sequence[Node], keys: Mapping[str, bool]) -> Named:
    """Return the variables of the model from the object graph.

    Args:
        nodes: The objects; the first one is the root.
        keys: Whether each tensor has axes, by key.

    Raises:
        ClaimError: If names are invalid or clash.
    """
    paths, order = _shortest_paths(nodes), _preorder(nodes)
    full: dict[str, str] = {}
    by_path: dict[str, tuple[str, ...]] = {}
    for number in order:
        for full_name, key in nodes[number].variables:
            if key in keys and key not in full:
                full[key], by_path[key] = full_name, paths[number]
    found = Named()
    for key in [key for key, path in by_path.items() if len(path) == 1 and not keys[key]]:
        found.beside[key] = by_path.pop(key)[0]
    model = {key: path for key, path in by_path.items() if path[-1] != COUNTER}
    found.optimizer = {
        key.split(ATTRIBUTE)[0].rpartition("/")[2].strip("_"): key
        for key, has_axes in keys.items()
        if key not in full and not has_axes
    }
    left_out = [key for key in keys if key not in full and ATTRIBUTE in key]
    if left_out:
        first = OPTIMIZER if SLOT in left_out[0] else left_out[0].split("/")[0]
        found.notes.append(f"left out {quoted(first)}: training state, not weights")
    found.model = _checked(_full_names({k: full[k] for k in model}) or _path_names(model))
    return found


def _is_training_state(name: str) -> bool:
    return TRAINING_STATE.search(name.lower().strip("_")) is not None


def _shortest_paths(nodes: Sequence[Node]) -> dict[int, tuple[str, ...]]:
    """Return the shortest path to each object, excluding optimizers."""
    paths: dict[int, tuple[str, ...]] = {0: ()}
    waiting = deque([0])
    while waiting:
        number = waiting.popleft()
        if len(paths[number]) > MOST_DEPTH:
            raise ClaimError(f"its graph is nested more than {MOST_DEPTH} deep")
        for name, child in nodes[number].children:
            if child not in paths and not _is_training_state(name):
                paths[child] = (*paths[number], name)
                waiting.append(child)
    return paths


def _preorder(nodes: Sequence[Node]) -> list[int]:
    """Return the objects in the order of attributes, which is network order."""
    seen: dict[int, None] = {}
    waiting = [0]
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen[number] = None
        children = [c for name, c in nodes[number].children if not _is_training_state(name)]
        waiting += [child for child in reversed(children) if child not in seen]
    return list(seen)


def _full_names(full: Mapping[str, str]) -> dict[str, str] | None:
    """Return the variables' names in the program, or None if they are not unique."""
    names = [name.removesuffix(":0") for name in full.values()]
    if len(set(names)) < len(names) or not UNNAMED.isdisjoint(names):
        return None
    parts = [name.split("/") for name in names]
    if len({p[0] for p in parts}) == 1 and all(len(p) > 2 for p in parts):
        parts = [p[1:] for p in parts]  # the name of the model itself
    return dict(zip(full, (".".join(p) for p in parts), strict=True))


def _path_names(paths: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return names made from attribute paths, without a common wrapper."""
    shown = list(paths.values())
    while shown and all(len(p) > 1 and p[0] == shown[0][0] for p in shown):
        if not wraps_model(shown[0][0]):
            break
        shown = [p[1:] for p in shown]
    return dict(zip(paths, (".".join(p) for p in shown), strict=True))


def named_by_keys(keys: Mapping[str, bool]) -> Named:
    """Return the variables of the model from their names only, as TensorFlow 1 saves them.

    Args:
        keys: Whether each tensor has axes, by name.

    Raises:
        ClaimError: If names are invalid or clash.
    """
    found = Named()
    slots = [key for key in keys if _is_slot(key, keys)]
    copies = [
        key
        for key in keys
        if key.endswith(AVERAGES) and _is_variable(key.removesuffix(AVERAGES), keys)
    ]
    if slots:
        found.notes.append(
            f"left out {quoted(slots[0])}{_more(slots)}: training state, not weights"
        )
    if copies:
        found.notes.append(f"left out {quoted(copies[0])}{_more(copies)}: averaged copies")
    model = []
    for key in keys.keys() - {*slots, *copies}:
        if not keys[key] and "/" not in key:
            found.beside[key] = key
        else:
            model.append(key)
    model.sort(key=_place)
    found.model = _checked({key: key.removesuffix(":0").replace("/", ".") for key in model})
    return found


def _is_slot(key: str, keys: Collection[str]) -> bool:
    owner, _, last = key.rpartition("/")
    named = any(_is_training_state(part) for part in key.split("/"))
    known = SLOT_ENDS.search(key) is not None or COPIES.search(last.lower()) is not None
    return named or POWERS.search(key) is not None or (known and _is_variable(owner, keys))


def _is_variable(owner: str, keys: Collection[str]) -> bool:
    """Tell whether a name is a variable's, or that of a part of one, which is stored whole."""
    return owner in keys or PARTITION.sub("", owner) in keys


def _place(key: str) -> tuple[list[list[str | int]], bool, str]:
    *modules, last = key.split("/")
    return [natural(module) for module in modules], last.startswith(("b", "moving")), last


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _checked(names: dict[str, str]) -> dict[str, str]:
    for name in names.values():
        checked_name(name)
    if len(set(names.values())) < len(names):
        listed = list(names.values())
        twice = next(name for name in listed if listed.count(name) > 1)
        raise ClaimError(f"holds two variables that are both called {quoted(twice)}")
    return names
