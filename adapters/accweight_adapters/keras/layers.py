"""The layers in a Keras 3 weights file: groups of numbered variables, named by attribute.

Groups follow the attributes of the model, ``layers/dense_1/vars/0``; layers in a list are named by
class and number. A layer's own name is in an attribute of its group, in older files only in the
configuration. Together they give the paths that Keras uses for its variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accweight_adapters.hdf5.file import Hdf5File, Node
from accweight_adapters.hdf5.values import Dataset
from accweight_adapters.keras.config import Configuration, Layer, layer_of, listed_layers
from accweight_adapters.keras.order import Placed, Shape, network_order
from accweight_adapters.keras.variables import variable_names
from accweight_adapters.untrusted import ClaimError
from accweight_core.dtypes import DTYPES

VARIABLES: Final = "vars"
OPTIMIZER: Final = "optimizer"
MOST_DEPTH: Final = 32
UNPLACED: Final = 1 << 60
ADDRESS_BITS: Final = 62
ALIASES: Final = {
    "forward_layer": "layer",
    "query_dense": "query",
    "key_dense": "key",
    "value_dense": "value",
    "output_dense": "attention_output",
}
"""Attributes and their names in configurations, and the layers that attention creates."""

PROJECTION = re.compile(r"_?(query|key|value|output|gate)_dense")
PROJECTIONS: Final = ("query", "key", "value", "attention_output")


@dataclass(frozen=True, slots=True)
class Stored:
    """A dataset and its file."""

    file: Hdf5File
    dataset: Dataset


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """One layer with variables.

    Attributes:
        path: Its path of layer names.
        keys: Its path of group keys, which is unique.
        class_name: Its class in snake case, '' if unknown.
        variables: Its variables by name, in order.
        settings: Its configuration, if known.
        address: Highest address of its objects; it grows with the order of writing.
    """

    path: tuple[str, ...]
    keys: tuple[str, ...]
    class_name: str
    variables: Mapping[str, Stored]
    settings: Mapping[str, Any] = field(default_factory=dict)
    address: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """A group; in a sharded model its members may be in several files."""

    parts: tuple[Node, ...]

    def members(self) -> dict[str, Group]:
        """Return the members by name."""
        found: dict[str, list[Node]] = {}
        for part in self.parts:
            for name, node in part.members().items():
                found.setdefault(name, []).append(node)
        return {name: Group(tuple(nodes)) for name, nodes in found.items()}

    def text(self, name: str) -> str:
        """Return a string attribute, or ''."""
        texts = (part.texts().get(name, []) for part in self.parts)
        return next((values[0] for values in texts if values), "")

    def stored(self) -> list[Stored]:
        """Return the dataset in a list; empty for a group."""
        found = ((part.file, part.dataset()) for part in self.parts)
        return [Stored(file, dataset) for file, dataset in found if dataset is not None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Position of the walk: path of names and keys, enclosing layer, enclosing list."""

    path: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    layer: Layer | None = None
    container: str = ""


class LayerWalk:
    """Walks the groups of a weights file and collects the layers with variables."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._seen: set[tuple[int, int]] = set()
        self._files: list[int] = []
        self._slots: list[Shape] = []
        self.linked_twice = 0
        self.doubt = ""

    def layers(self, roots: Sequence[Node]) -> list[FoundLayer]:
        """Return the layers of a model in network order, without those of its optimizer.

        `doubt` then tells whether that order is a guess.
        """
        self._files = [id(root.file) for root in roots]
        optimizer = optimizer_variables(roots).values()
        self._slots = [stored.dataset.shape for stored in optimizer if stored.dataset.shape]
        root = Group(tuple(roots))
        model = layer_of(self._configuration.root) or Layer(
            _own_name(root.members()) or "model", ""
        )
        found = list(self._walked(root, _Place(layer=model)))
        unique = {layer.path: layer for layer in found}
        if len(unique) < len(found):
            paths = [layer.path for layer in found]
            found = [_by_keys(each) if paths.count(each.path) > 1 else each for each in found]
        return self._ordered(found)

    def _walked(self, group: Group, place: _Place) -> Iterator[FoundLayer]:
        if len(place.keys) > MOST_DEPTH:
            raise ClaimError(f"nests its groups more than {MOST_DEPTH} deep")
        if self._is_known(group):
            return
        members = group.members()
        if VARIABLES in members:
            yield from self._found(members[VARIABLES], place)
        for key, member in members.items():
            if key == VARIABLES or (not place.keys and key == OPTIMIZER) or member.stored():
                continue
            yield from self._walked(member, self._below(key, member, place))

    def _is_known(self, group: Group) -> bool:
        """Tell whether a group was reached before by another link; each is visited once."""
        ids = {(id(part.file), part.address) for part in group.parts}
        if ids <= self._seen:
            self.linked_twice += 1
            return True
        self._seen |= ids
        return False

    def _below(self, key: str, group: Group, place: _Place) -> _Place:
        """Return the position of a member: a layer, or a list of layers without variables."""
        keys = (*place.keys, key)
        members = group.members()
        if VARIABLES not in members and not place.container:
            return _Place(place.path, keys, place.layer, key)
        settings = place.layer.settings if place.layer else {}
        known = _in_list(settings, place.container, key) if place.container else None
        if known is None and not place.container:
            known = layer_of(settings.get(key)) or layer_of(settings.get(ALIASES.get(key, key)))
        name = _own_name(members) or (known.name if known else _given_name(key, place))
        path = (*place.path, name)
        by_key = _base(key) if place.container else ""
        return _Place(path, keys, known or self._configuration.layer(path) or Layer(name, by_key))

    def _found(self, group: Group, place: _Place) -> Iterator[FoundLayer]:
        variables = _numbered(group)
        if not variables:
            return
        layer = place.layer or Layer("model", "")
        path = place.path or (layer.name,)
        shapes = [stored.dataset.shape for stored in variables]
        classes = _classes(layer, place)
        class_name, names = variable_names(classes, shapes, layer.settings)
        named = dict(zip(names, variables, strict=True))
        yield FoundLayer(
            path,
            place.keys or (path[-1],),
            class_name or layer.class_name,
            named,
            layer.settings,
            self._address(group),
        )

    def _address(self, variables: Group) -> int:
        """Return the highest address of a layer's objects, which grows with the order of writing.

        The highest, because a small object may take up a gap further ahead.
        """
        first = variables.parts[0]
        parts = (part for member in variables.members().values() for part in member.parts)
        highest = max([first.address, *(p.address for p in parts if p.file is first.file)])
        return (self._files.index(id(first.file)) << ADDRESS_BITS) + highest

    def _ordered(self, layers: Sequence[FoundLayer]) -> list[FoundLayer]:
        """Return layers in network order: by the configuration, else by what the file tells.

        The parts of a layer stay together.
        """
        places, self.doubt = network_order([_placed(layer) for layer in layers], self._slots)
        if self._configuration:
            self.doubt = ""
        first: dict[str, int] = {}
        for layer in layers:
            whole = layer.path[0]
            first[whole] = min(first.get(whole, places[layer.keys]), places[layer.keys])

        def place(layer: FoundLayer) -> tuple[int, int, int, int]:
            known = self._configuration.place(layer.path)
            part = PROJECTIONS.index(layer.path[-1]) if layer.path[-1] in PROJECTIONS else 0
            order = known if known is not None else UNPLACED
            return order, first[layer.path[0]], part, places[layer.keys]

        return sorted(layers, key=place)


def _placed(layer: FoundLayer) -> Placed:
    shapes = {name: stored.dataset.shape for name, stored in layer.variables.items()}
    return Placed(layer.keys, layer.path[-1], layer.address, shapes)


def _by_keys(layer: FoundLayer) -> FoundLayer:
    """Return a layer named by its keys, for use if names clash."""
    return replace(layer, path=layer.keys)


def _own_name(members: Mapping[str, Group]) -> str:
    """Return the name stored with a layer's variables, or ''."""
    name = members[VARIABLES].text("name") if VARIABLES in members else ""
    return name if name.isprintable() else ""


def _in_list(settings: Mapping[str, Any], attribute: str, key: str) -> Layer | None:
    """Return the layer of a list with this class and number: conv2d, conv2d_1."""
    counts: dict[str, int] = {}
    for layer in listed_layers(settings, attribute):
        number = counts.get(layer.class_name, -1) + 1
        counts[layer.class_name] = number
        if key == (f"{layer.class_name}_{number}" if number else layer.class_name):
            return layer
    return None


def _given_name(key: str, place: _Place) -> str:
    """Return a name for a layer that neither file nor configuration names."""
    if key == "cell" and place.layer and place.layer.class_name:
        return f"{place.layer.class_name}_cell"
    return ALIASES.get(key, key)


def _classes(layer: Layer, place: _Place) -> list[str]:
    """Return possible classes of a layer, most certain first; the attribute's key last."""
    key = place.keys[-1] if place.keys else ""
    projection = "einsum_dense" if PROJECTION.fullmatch(key) else ""
    guesses = (layer.class_name, projection, _base(layer.name), _base(key))
    return [name for name in guesses if name]


def _base(name: str) -> str:
    """Return a name without the number that makes it unique."""
    return re.sub(r"_\d+$", "", name)


def _numbered(group: Group) -> list[Stored]:
    """Return the variables of a layer in order; their keys are numbers."""
    members = group.members()
    keys = sorted(members, key=lambda key: (len(key), key))
    return [stored for key in keys for stored in members[key].stored()[:1]]


def optimizer_variables(roots: Sequence[Node]) -> dict[str, Stored]:
    """Return the variables of the optimizer by name: ``iteration``, else their numbers."""
    root = Group(tuple(roots)).members().get(OPTIMIZER)
    found: dict[str, Stored] = {}
    waiting = [("", root)] if root else []
    for _ in range(MOST_DEPTH):
        if not waiting:
            break
        prefix, group = waiting.pop(0)
        for key, member in group.members().items():
            if key == VARIABLES:
                variables = _numbered(member)
                names = _optimizer_names(variables)
                found |= {prefix + n: v for n, v in zip(names, variables, strict=True)}
            elif not member.stored():
                waiting.append((f"{prefix}{key}.", member))
    return found


def _optimizer_names(variables: Sequence[Stored]) -> list[str]:
    """Return the names of an optimizer's variables: step count, then learning rate.

    A scheduled learning rate is not a variable; the second one then belongs to a weight.
    """
    names = [f"variable_{number}" for number in range(len(variables))]
    scalars = [_scalar_family(stored.dataset) for stored in variables[:3]]
    if scalars[:1] == ["integer"]:
        names[0] = "iteration"
        if scalars[1:2] == ["float"] and not any(scalars[2:3]):
            names[1] = "learning_rate"
    return names


def _scalar_family(dataset: Dataset) -> str:
    """Return the type family of a dataset without axes, or '' for another."""
    known = DTYPES.get(dataset.element.dtype)
    return known.family if known and not dataset.shape and not dataset.refusal else ""
