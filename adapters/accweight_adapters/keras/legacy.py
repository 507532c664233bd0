"""The layers in a Keras 2 HDF5 file: one group per layer, with lists of contents.

`layer_names` lists the layers in network order, `weight_names` the variables of each. In a whole
model they are one level down, next to its configuration and the optimizer state. Keras 3 still
writes this format for names ending in ``.h5``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from accweight_adapters.hdf5.file import Node
from accweight_adapters.keras.config import Configuration
from accweight_adapters.keras.layers import FoundLayer, Stored
from accweight_adapters.untrusted import ClaimError, quoted

MODEL: Final = "model_weights"
OPTIMIZER: Final = "optimizer_weights"
TOP_LEVEL: Final = "top_level_model_weights"
LAYERS: Final = "layer_names"
WEIGHTS: Final = "weight_names"
COUNTS: Final = ("iteration", "iterations", "iter")
"""Names of the optimizer's step count in various versions."""


def weights_group(root: Node) -> Node | None:
    """Return the group that lists its layers, or None if this is not a Keras 2 file."""
    group = root.at(MODEL) or root
    return group if listed(group, LAYERS) else None


def listed(group: Node, name: str) -> list[str]:
    """Return a list of strings; long lists are split over name0, name1 and so on."""
    texts = group.texts()
    parts = [name, *(f"{name}{number}" for number in range(len(texts)))]
    return [text for part in parts for text in texts.get(part, [])]


def legacy_layers(group: Node, configuration: Configuration) -> list[FoundLayer]:
    """Return the layers with variables, in network order."""
    found: dict[tuple[str, ...], dict[str, Stored]] = {}
    names = listed(group, LAYERS)
    top = [TOP_LEVEL] if TOP_LEVEL in group.members() else []
    for name in [*names, *top]:
        layer = group.at(name)
        if layer is None:
            raise ClaimError(f"lists a layer {quoted(name)}, which it does not hold")
        for weight, stored in _variables(layer, name):
            path = _path(weight, "" if name == TOP_LEVEL else name)
            variables = found.setdefault(path[:-1] or ("model",), {})
            if path[-1] in variables:
                raise ClaimError(f"holds two variables that are called {quoted('.'.join(path))}")
            variables[path[-1]] = stored
    return [_layer(path, variables, configuration) for path, variables in found.items()]


def legacy_optimizer(root: Node) -> dict[str, Stored]:
    """Return the variables of the optimizer by name, if any."""
    group = root.at(OPTIMIZER)
    if group is None:
        return {}
    return {".".join(_path(weight, "")): stored for weight, stored in _variables(group, OPTIMIZER)}


def _variables(group: Node, layer: str) -> list[tuple[str, Stored]]:
    found = []
    for weight in listed(group, WEIGHTS):
        node = group.at(weight)
        dataset = node.dataset() if node else None
        if node is None or dataset is None:
            raise ClaimError(
                f"lists a variable {quoted(weight)} of layer {quoted(layer)}, "
                "which it does not hold"
            )
        found.append((weight, Stored(node.file, dataset)))
    return found


def _path(weight: str, layer: str) -> tuple[str, ...]:
    """Return the path of a variable from its layer on: ``net/conv/kernel:0``."""
    parts = [part for part in re.sub(r":\d+$", "", weight).split("/") if part]
    if not parts:
        raise ClaimError(f"lists a variable without a name, {quoted(weight)}")
    if layer and layer in parts[:-1]:
        first = len(parts) - 2 - parts[:-1][::-1].index(layer)
        return tuple(parts[first:])
    return (layer, *parts) if layer else tuple(parts)


def _layer(
    path: tuple[str, ...], variables: Mapping[str, Stored], configuration: Configuration
) -> FoundLayer:
    known = configuration.layer(path)
    class_name = known.class_name if known else ""
    settings = known.settings if known else {}
    return FoundLayer(path, path, class_name, variables, settings)
