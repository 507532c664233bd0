"""Writes small checkpoints of TensorFlow of every kind into the folder named.

TensorFlow cannot be installed beside the other libraries (its demands on protobuf contradict
theirs), so this was run once, in an environment of its own with `tensorflow` and `tf_keras`:

    python tests/generators/tf_checkpoints.py tests/data/tensorflow

The values as TensorFlow itself reads them lie in `expected/`, in an archive for each checkpoint,
by the keys that they have in the file.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf_keras

v1 = tf.compat.v1
SKIPPED = re.compile("OBJECT_GRAPH|optimizer/_variables|Adam")
RANDOM = np.random.default_rng(0)


def expect(prefix: str) -> None:
    """Write the values of a checkpoint apart from it; the state of optimizers is left aside."""
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    values = {k: reader.get_tensor(k) for k in shapes if not SKIPPED.search(k)}
    numbers = {k: np.asarray(v) for k, v in values.items() if not isinstance(v, bytes)}
    half = {k: v.astype(np.float32) for k, v in numbers.items() if v.dtype.name == "bfloat16"}
    path = Path(prefix)
    expected = path.parent.parent / "expected" / path.parent.name
    expected.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(expected / f"{path.name}.npz", **numbers | half)


def sequential(library: object) -> object:
    """Return a network with the layers whose kernels are laid out in different ways."""
    layers = library.layers
    return library.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(3, 3, name="first_conv"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(2),
            layers.Conv2DTranspose(2, 2),
            layers.Reshape((16, 2)),
            layers.LSTM(3),
            layers.Dense(4, name="head"),
        ]
    )


def train(model: object, steps: int) -> None:
    """Move the weights a little."""
    x = RANDOM.normal(size=(4 * steps, 6, 6, 2)).astype(np.float32)
    y = RANDOM.normal(size=(4 * steps, 4)).astype(np.float32)
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)


def managed(folder: Path, library: object) -> None:
    """Save a network and its optimizer with a CheckpointManager, as tutorials do."""
    model = sequential(library)
    optimizer = library.optimizers.Adam(0.01)
    model.compile(optimizer=optimizer, loss="mse")
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(step=step, model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=9)
    for number in (1, 2):
        train(model, 5)
        step.assign_add(5)
        expect(manager.save(checkpoint_number=number))


def weights(folder: Path) -> None:
    """Save a network by the callback of Keras 2, weights alone."""
    model = sequential(tf_keras)
    for epoch in (1, 2):
        model.compile(optimizer="sgd", loss="mse")
        train(model, 2)
        model.save_weights(str(folder / f"epoch-{epoch:02}"))
        expect(str(folder / f"epoch-{epoch:02}"))


class Block(tf.Module):
    """A module with its variables in a list, in half precision too."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(RANDOM.normal(size=(5, 3)), dtype=tf.float32)
        self.half = tf.Variable(RANDOM.normal(size=(2, 3)), dtype=tf.bfloat16)
        self.parts = [tf.Variable(tf.ones(3, tf.float64)), tf.Variable(tf.zeros(2, tf.float16))]
        self.label = tf.Variable("text")
        self.flag = tf.Variable([True, False])


def modules(folder: Path) -> None:
    """Save a plain module, as the root of the checkpoint."""
    block = Block()
    checkpoint = tf.train.Checkpoint(net=block, copy=block)
    for _ in (1, 2):
        block.w.assign_add(tf.ones_like(block.w))
        expect(checkpoint.save(str(folder / "ckpt")))


def graph(folder: Path) -> None:
    """Save by names, with slots of an optimizer, and a table that is cut into parts."""
    with tf.Graph().as_default(), tf.device("/cpu:0"):
        x = v1.placeholder(tf.float32, (None, 6, 6, 2))
        normal = v1.random_normal_initializer(seed=0)
        with v1.variable_scope("conv1"):
            kernel = v1.get_variable("weights", (3, 3, 2, 4), initializer=normal)
            bias = v1.get_variable("biases", (4,), initializer=normal)
        cut = v1.fixed_size_partitioner(3, axis=0)
        table = v1.get_variable("embedding/table", (64, 3), initializer=normal, partitioner=cut)
        with tf.device("/cpu:1"):  # a device of its own gives a file of its own
            dense = v1.get_variable("dense/kernel", (64, 3), initializer=normal)
        hidden = tf.reshape(tf.nn.conv2d(x, kernel, 1, "VALID") + bias, (-1, 64))
        loss = tf.reduce_mean((hidden @ dense + hidden @ tf.convert_to_tensor(table)) ** 2)
        step = v1.train.get_or_create_global_step()
        move = v1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)
        saver = v1.train.Saver(sharded=True, save_relative_paths=True)
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(v1.global_variables_initializer())
            for _ in range(2):
                for _ in range(10):
                    session.run(move, {x: RANDOM.normal(size=(4, 6, 6, 2))})
                expect(
                    saver.save(session, str(folder / "model.ckpt"), step, write_meta_graph=False)
                )


def write(root: Path) -> None:
    """Write all of them."""
    shutil.rmtree(root, ignore_errors=True)
    tf.keras.utils.set_random_seed(0)
    for name, make in {
        "keras2": lambda folder: managed(folder, tf_keras),
        "keras3": lambda folder: managed(folder, keras),
        "weights": weights,
        "module": modules,
        "graph": graph,
    }.items():
        (root / name).mkdir(parents=True)
        make(root / name)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
