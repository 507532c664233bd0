"""Real checkpoints of Keras 3 for tests, on its torch backend, and the same weights for PyTorch.

`network` has a layer of most kinds; `trained` saves it before and while it is trained, in every
format. `as_torch` gives the same weights in PyTorch's shapes and names.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-")  # it writes its settings there

Arrays = dict[str, np.ndarray]

FORMATS = {
    "archive": "net_{step}.keras",
    "weights": "net_{step}.weights.h5",
    "legacy": "net_{step}.h5",
}
"""Names of files by format; the suffix makes Keras choose it."""


@contextmanager
def quiet() -> Iterator[None]:
    """Let Keras warn of what it does itself; tests make errors of warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def network() -> Any:
    """Return a model with a layer of most kinds, some named by hand, some by Keras."""
    import keras
    from keras import layers

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    image = keras.Input((10, 10, 3), name="image")
    x = layers.Conv2D(8, 3, name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(6, 3)(x)
    x = layers.Conv2DTranspose(5, 2, name="deconv")(x)
    x = layers.LayerNormalization()(x)
    x = layers.Dropout(0.1)(layers.Flatten()(x))
    x = layers.Dense(16, name="fc")(x)
    tokens = keras.Input((6,), name="tokens")
    y = layers.Embedding(20, 6, name="words")(tokens)
    y = layers.MultiHeadAttention(2, 4, name="mha")(y, y)
    y = layers.Bidirectional(layers.LSTM(5, return_sequences=True), name="both")(y)
    y = layers.GRU(4, return_sequences=True, name="gru")(y)
    y = layers.Conv1D(5, 2, name="conv")(y)
    y = layers.TimeDistributed(layers.Dense(7, use_bias=False))(y)
    inner = keras.Sequential(
        [keras.Input((5, 7)), layers.LSTM(9, name="memory"), layers.Dense(4)], name="head"
    )
    joined = layers.Concatenate()([x, inner(y)])
    return keras.Model([image, tokens], layers.Dense(10, name="out")(joined))


def trained(folder: Path, steps: int = 3) -> list[Arrays]:
    """Save a model untrained and after each step of training, in every format.

    Returns:
        The weights at each step, by the paths that Keras gives its variables.
    """
    chance = np.random.default_rng(0)
    data = [chance.random((8, 10, 10, 3)), chance.integers(0, 20, (8, 6))]
    series = []
    with quiet():
        model = network()
        model.compile("adam", "mse")
        for step in range(steps):
            if step:
                model.fit(data, chance.random((8, 10)), batch_size=4, verbose=0)
            save_all(model, folder, step)
            series.append(weights_of(model))
    return series


def save_all(model: Any, folder: Path, step: int) -> None:
    """Save a model in every format, each in a folder of its own."""
    for kind, pattern in FORMATS.items():
        path = folder / kind / pattern.format(step=step)
        path.parent.mkdir(parents=True, exist_ok=True)
        (model.save_weights if kind == "weights" else model.save)(path)


def weights_of(model: Any) -> Arrays:
    """Return what `model.get_weights` returns, by the paths of the variables."""
    names = [variable.path.replace("/", ".") for variable in model.weights]
    with quiet():
        return dict(zip(names, model.get_weights(), strict=True))


# ---------------------------------------------------------------- the same for PyTorch


def _transposed(*axes: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda kernel: np.ascontiguousarray(kernel.transpose(axes))


def _channels(kernel: np.ndarray) -> np.ndarray:
    """Return a depthwise kernel with its channels and their multiples as outputs."""
    moved = kernel.transpose(2, 3, 0, 1)
    return np.ascontiguousarray(moved.reshape(-1, 1, *moved.shape[2:]))


def _same(kernel: np.ndarray) -> np.ndarray:
    return kernel


TORCH: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "stem.kernel": ("stem.weight", _transposed(3, 2, 0, 1)),
    "depthwise.kernel": ("depthwise.weight", _channels),
    "deconv.kernel": ("deconv.weight", _transposed(3, 2, 0, 1)),
    "fc.kernel": ("fc.weight", _transposed(1, 0)),
    "words.embeddings": ("words.weight", _same),
    "both.forward_lstm.lstm_cell.kernel": ("both.forward_lstm.weight_ih_l0", _transposed(1, 0)),
    "both.forward_lstm.lstm_cell.recurrent_kernel": (
        "both.forward_lstm.weight_hh_l0",
        _transposed(1, 0),
    ),
    "gru.gru_cell.kernel": ("gru.weight_ih_l0", _transposed(1, 0)),
    "gru.gru_cell.recurrent_kernel": ("gru.weight_hh_l0", _transposed(1, 0)),
    "conv.kernel": ("conv.weight", _transposed(2, 1, 0)),
    "head.memory.lstm_cell.kernel": ("head.memory.weight_ih_l0", _transposed(1, 0)),
    "head.memory.lstm_cell.recurrent_kernel": ("head.memory.weight_hh_l0", _transposed(1, 0)),
    "out.kernel": ("out.weight", _transposed(1, 0)),
}
"""Names in PyTorch by names in Keras, and how the axes move."""


def as_torch(arrays: Arrays) -> Arrays:
    """Return the weights as PyTorch would name and store them."""
    return {name: moved(arrays[keras]) for keras, (name, moved) in TORCH.items()}
