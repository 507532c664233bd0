"""Network order of layers in weights files of Keras 3, which keep no configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import quiet

import accweight_core as aw
from accweight_adapters.keras.order import Placed, network_order
from accweight_adapters.keras.reader import KerasReader
from accweight_core.naming import layers_of


def found(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of the layers in a file without the optimizer, and the notes."""
    description = KerasReader().describe(path)
    names = [layer.name for layer in layers_of(description.tensors)]
    return [name for name in names if name != "optimizer"], description.notes


def fitted(model: Any, shape: tuple[int, ...]) -> None:
    """Train a model for a step, so that it has an optimizer."""
    model.compile("adam", "mse")
    model.fit(np.zeros((4, *shape), "f4"), np.zeros((4, 10), "f4"), epochs=1, verbose=0)


@pytest.mark.parametrize("trained", [False, True])
def test_a_sequential_model_keeps_its_order(tmp_path: Path, trained: bool) -> None:
    from keras import Input, Sequential, layers

    with quiet():
        model = Sequential(
            [
                Input((12, 12, 1)),
                layers.Conv2D(4, 3, name="conv1"),
                layers.Flatten(),
                layers.Dense(32, name="fc1"),
                layers.Dense(10, name="head"),
            ]
        )
        if trained:
            fitted(model, (12, 12, 1))
        model.save_weights(tmp_path / "a.weights.h5")

    assert found(tmp_path / "a.weights.h5") == (["conv1", "fc1", "head"], ())


def test_layers_of_equal_shapes_keep_the_order_of_the_list(tmp_path: Path) -> None:
    from keras import Input, Sequential, layers

    names = [f"fc_{name}" for name in "zyxwvu"]
    with quiet():
        model = Sequential([Input((8,)), *(layers.Dense(8, name=name) for name in names)])
        model.save_weights(tmp_path / "a.weights.h5")

    assert found(tmp_path / "a.weights.h5") == (names, ())


def subclassed(widths: dict[str, int]) -> Any:
    """Return a model that keeps its layers in attributes, which are written by name."""
    import keras

    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for name, width in widths.items():
                setattr(self, name, keras.layers.Dense(width, name=name))

        def call(self, x: Any) -> Any:
            for name in widths:
                x = getattr(self, name)(x)
            return x

    return Net()


def test_attributes_are_ordered_by_the_slots_of_the_optimizer(tmp_path: Path) -> None:
    with quiet():
        model = subclassed({"stem": 8, "body": 7, "answer": 10})
        fitted(model, (7,))
        model.save_weights(tmp_path / "a.weights.h5")

    assert found(tmp_path / "a.weights.h5") == (["stem", "body", "answer"], ())


def test_slots_of_equal_shapes_leave_a_doubt(tmp_path: Path) -> None:
    with quiet():
        model = subclassed({"stem": 8, "body": 8, "answer": 10})
        fitted(model, (8,))
        model.save_weights(tmp_path / "a.weights.h5")

    names, notes = found(tmp_path / "a.weights.h5")

    assert names[2] == "answer"
    assert len(notes) == 1


def test_names_that_keras_counts_up_are_an_order() -> None:
    shapes = {"kernel": (4, 4)}
    layers = [
        Placed((key,), name, address, shapes)
        for address, (key, name) in enumerate(
            {"a": "dense_10", "b": "dense_9", "c": "dense"}.items()
        )
    ]

    places, doubt = network_order(layers, [])
    by_slots, none = network_order(layers, [(4, 4)] * 6)

    assert sorted(places, key=lambda keys: places[keys]) == [("c",), ("b",), ("a",)]
    assert by_slots == places
    assert doubt == none == ""


def test_attributes_without_an_optimizer_are_ordered_as_a_chain(tmp_path: Path) -> None:
    with quiet():
        model = subclassed({"stem": 5, "body": 7, "answer": 10})
        model(np.zeros((1, 3), "f4"))
        model.save_weights(tmp_path / "a.weights.h5")

    assert found(tmp_path / "a.weights.h5") == (["stem", "body", "answer"], ())


def test_an_order_that_nothing_tells_is_said_to_be_a_guess(tmp_path: Path) -> None:
    with quiet():
        model = subclassed({"stem": 4, "body": 4, "answer": 4})
        model(np.zeros((1, 4), "f4"))
        for step in (1, 2):
            model.save_weights(tmp_path / f"{step}.weights.h5")

    names, notes = found(tmp_path / "1.weights.h5")

    assert names == ["answer", "body", "stem"]
    assert len(notes) == 1
    assert notes[0].startswith("layers in the order of their names")
    assert aw.open_run(tmp_path).notes == (f"2 checkpoints: {notes[0]}",)


def placed(address: int, **shapes: tuple[int, ...]) -> Placed:
    return Placed((f"layer_{address}",), f"{'abcd'[address - 1]}", address, shapes)


def order_of(layers: list[Placed], slots: list[tuple[int, ...]]) -> list[int]:
    places, _ = network_order(layers, slots)
    return [int(keys[0][6:]) for keys in sorted(places, key=lambda keys: places[keys])]


def test_slots_decide_whatever_their_number_per_weight() -> None:
    layers = [
        placed(1, kernel=(4, 4), bias=(4,)),
        placed(2, gamma=(4,), beta=(4,), moving_mean=(4,), moving_variance=(4,)),
        placed(3, kernel=(9, 4)),
    ]
    sequence = [(9, 4), (4,), (4,), (4, 4), (4,)]

    assert order_of(layers, sequence) == [3, 2, 1]
    assert order_of(layers, [shape for shape in sequence for _ in range(2)]) == [3, 2, 1]
    assert order_of(layers, sequence[:-1]) == [1, 2, 3], "of another model"


def test_a_chain_counts_only_if_every_step_is_certain() -> None:
    conv, dense = placed(3, kernel=(3, 3, 2, 4)), placed(1, kernel=(36, 5))
    head, twin = placed(2, kernel=(5, 7)), placed(4, kernel=(5, 7))

    assert order_of([dense, head, conv], []) == [3, 1, 2]
    assert order_of([dense, head, conv, twin], []) == [1, 2, 3, 4]
    shapes = {1: (4, 4), 2: (4, 4), 3: (4, 5), 4: (2, 4)}
    assert order_of([placed(at, kernel=shape) for at, shape in shapes.items()], []) == [1, 2, 3, 4]
