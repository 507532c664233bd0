"""Names, classes and order of layers from a saved Keras configuration.

A configuration is a tree of dictionaries with a class_name and a config. Only these two are read;
no class is instantiated or imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accweight_adapters.shard_index import parsed
from accweight_adapters.untrusted import ClaimError

Path = tuple[str, ...]

MOST_DEPTH: Final = 64
MOST_LAYERS: Final = 100_000
NOT_LAYERS: Final = frozenset({"compile_config", "build_config", "inbound_nodes", "dtype"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a configuration.

    Attributes:
        name: Its name.
        class_name: Its class in snake case, as in Keras layer names.
        settings: Its own configuration.
        order: Its position among all layers.
    """

    name: str
    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    order: int = 0


def snake_case(name: str) -> str:
    """Return a class name as in Keras layer names: conv2d_transpose for Conv2DTranspose."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


class Configuration:
    """The layers of a model by the path of names to them; empty without a configuration."""

    def __init__(self, text: bytes = b"") -> None:
        document: object = parsed(text) if text else {}
        self.root = document if isinstance(document, dict) else {}
        self._by_path: dict[Path, Layer] = {}
        self._by_name: dict[str, Layer | None] = {}
        for path, layer in _layers(self.root, (), 0):
            self._add(path[1:], layer)

    def __bool__(self) -> bool:
        """Tell whether there is a configuration."""
        return bool(self._by_path)

    def _add(self, path: Path, layer: Layer) -> None:
        order = len(self._by_path)
        if order > MOST_LAYERS:
            raise ClaimError(f"its configuration lists more than {MOST_LAYERS} layers")
        placed = Layer(layer.name, layer.class_name, layer.settings, order)
        self._by_path.setdefault(path, placed)
        known = self._by_name.setdefault(layer.name, placed)
        if known is not None and known.class_name != layer.class_name:
            self._by_name[layer.name] = None  # ambiguous name: only paths identify these layers

    def layer(self, path: Path) -> Layer | None:
        """Return the layer at a path of names, else the only layer of that name."""
        return self._by_path.get(path) or (self._by_name.get(path[-1]) if path else None)

    def place(self, path: Path) -> int | None:
        """Return the position in the network of a layer, or of the layer that contains it."""
        known = (self._by_path.get(path[:length]) for length in range(len(path), 0, -1))
        return next((layer.order for layer in known if layer), None)


def _layers(node: object, path: Path, depth: int) -> Iterator[tuple[Path, Layer]]:
    """Yield every layer in a configuration with its path of names, in order."""
    if depth > MOST_DEPTH:
        raise ClaimError(f"its configuration is nested more than {MOST_DEPTH} deep")
    if isinstance(node, list):
        for item in node:
            yield from _layers(item, path, depth + 1)
    elif isinstance(node, dict):
        layer = layer_of(node)
        if layer is not None:
            path = (*path, layer.name)
            yield path, layer
        for key, value in node.items():
            if key not in NOT_LAYERS and isinstance(value, (dict, list)):
                yield from _layers(value, path, depth + 1)


def layer_of(node: object) -> Layer | None:
    """Return the layer that a dictionary describes, or None."""
    if not isinstance(node, dict) or not isinstance(node.get("class_name"), str):
        return None
    settings = node.get("config")
    settings = settings if isinstance(settings, dict) else {}
    name = settings.get("name", node.get("name"))
    if not isinstance(name, str) or not name:
        return None
    return Layer(name, snake_case(node["class_name"]), settings)


def listed_layers(settings: Mapping[str, Any], attribute: str) -> list[Layer]:
    """Return the layers in a list of a layer's own configuration."""
    items = settings.get(attribute)
    found = [layer_of(item) for item in items] if isinstance(items, list) else []
    return [layer for layer in found if layer is not None]
