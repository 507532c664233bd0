"""Hints for TensorFlow variables, by Keras conventions: outputs last.

Layers are recognised by Keras layer names and by their variables' names; TensorFlow 1 and Sonnet
have other names for kernels and biases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from accweight_adapters.keras_hints import TELLING, Module, cells_of, hints_of, layer_name
from accweight_core.schema import Axis, Hints, Kind, StoredTensor

ALIASES: Final = {"weights": "kernel", "w": "kernel", "W": "kernel", "biases": "bias", "b": "bias"}
"""Keras names of TensorFlow 1 and Sonnet variables."""

CLASSES = re.compile(
    r"((depthwise_|separable_)?conv[123]d(_transpose)?|dense|embedding|(conv_)?lstm|gru|simple_rnn"
    r"|(batch|layer|group|rms)_normalization)(_cell)?"
)
"""Classes of layers that are recognised in Keras layer names."""

LSTM_CELL = re.compile(r"(^|_)lstm_cell(_\d+)?$")
LSTM_GATES: Final = ("i", "c", "f", "o")
"""Order in which TensorFlow 1 cells stack gates."""


def with_tensorflow_hints(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return tensors with hints by Keras conventions."""
    given = list(tensors)
    modules: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
    for tensor in given:
        *path, leaf = tensor.name.split(".")
        modules.setdefault(tuple(path), {})[_plain(leaf)] = tensor.shape
    cells = cells_of([path for path in modules if path])
    known = {path: _hints(path, shapes, cells) for path, shapes in modules.items() if path}
    found = []
    for tensor in given:
        *path, leaf = tensor.name.split(".")
        hints = known.get(tuple(path), {}).get(_plain(leaf), tensor.hints)
        found.append(replace(tensor, hints=hints))
    return tuple(found)


def _plain(leaf: str) -> str:
    """Return the Keras name of a variable; Keras 3 prefixes some attributes with an underscore."""
    return ALIASES.get(leaf, leaf.removeprefix("_"))


def _hints(
    path: tuple[str, ...],
    shapes: Mapping[str, tuple[int, ...]],
    cells: Mapping[tuple[str, ...], int],
) -> dict[str, Hints]:
    if TELLING.isdisjoint(shapes):
        return {}
    class_name = re.sub(r"_\d+$", "", path[-1])
    name = layer_name(path, cells)
    known = class_name if CLASSES.fullmatch(class_name) else ""
    hints = hints_of(Module(name, shapes, known))
    kernel = shapes.get("kernel", ())
    if LSTM_CELL.search(path[-1]) and "recurrent_kernel" not in shapes and len(kernel) == 2:
        sections = LSTM_GATES if kernel[1] % len(LSTM_GATES) == 0 else None
        axes = (Axis.INPUT, Axis.OUTPUT)
        hints["kernel"] = Hints(name, Kind.LSTM, hints["kernel"].role, axes, sections)
    return hints
