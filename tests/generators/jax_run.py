"""Writes the checkpoints of a real run of Flax into the folder named, in every layout.

Run by `tests/test_jax_readers.py`, in a process of its own: JAX takes seconds to start and its
warnings disturb nobody there. The weights as JAX has them in memory are written beside, in
`expected`, by the names of their modules.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = (  # four devices to spread arrays over; compiling is what takes time
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
)

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx, serialization
from flax.training import checkpoints, train_state
from jax.sharding import Mesh, NamedSharding, PartitionSpec

STEPS = (2, 4, 10)


class Network(nn.Module):
    """A network with the layers whose kernels are laid out in different ways."""

    @nn.compact
    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        """Return one number for each picture and line of text."""
        x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(4, (3, 3))(x)))
        x = nn.ConvTranspose(2, (2, 2))(x).reshape((x.shape[0], -1))
        text = nn.LayerNorm()(nn.Embed(11, 6)(tokens))
        text = nn.RNN(nn.OptimizedLSTMCell(6))(nn.SelfAttention(2)(text))
        text = nn.RNN(nn.GRUCell(5))(text)
        return nn.Dense(1, param_dtype=jnp.bfloat16)(nn.Dense(8)(x) + nn.Dense(8)(text[:, -1]))


class State(train_state.TrainState):
    """What training keeps."""

    batch_stats: Any = None


def trained() -> list[State]:
    """Train; return what there was at the steps."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(4, 5, 5, 1)).astype(np.float32)
    tokens = chance.integers(0, 11, size=(4, 7))
    network = Network()
    variables = jax.jit(network.init)(jax.random.key(0), x, tokens)  # compiled at once
    adam = optax.adam(0.01)
    state = State.create(
        apply_fn=network.apply,
        params=variables["params"],
        tx=adam,
        batch_stats=variables["batch_stats"],
    )

    @jax.jit
    def moved(state: State) -> State:
        def loss(params: Any) -> Any:
            given = {"params": params, "batch_stats": state.batch_stats}
            out, new = network.apply(given, x, tokens, mutable=["batch_stats"])
            return jnp.mean((out.astype(jnp.float32) - 1) ** 2), new

        gradients, new = jax.grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=gradients, batch_stats=new["batch_stats"])

    kept = []
    while len(kept) < len(STEPS):
        state = moved(state)
        kept += [state] if int(state.step) in STEPS else []
    return kept


def expect(folder: Path, state: State) -> None:
    """Write the weights by name."""
    folder.mkdir(parents=True, exist_ok=True)
    trees = {"params": state.params, "batch_stats": state.batch_stats}
    named = {
        ".".join(keys): np.asarray(value, dtype=np.float32)
        for tree in trees.values()
        for keys, value in flax.traverse_util.flatten_dict(tree).items()
    }
    np.savez(folder / f"{int(state.step)}.npz", **named)


def saved(root: Path, states: list[State]) -> None:
    """Write the run in every layout."""
    best = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["acc"])
    with ocp.CheckpointManager(root / "manager", options=best) as manager:
        for state in states:
            step = int(state.step)
            metrics = {"acc": step / 16, "loss": 1 / step}
            manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)
    with ocp.CheckpointManager(root / "items") as manager:
        for state in states:
            both = {"params": state.params, "batch_stats": state.batch_stats}
            items = ocp.args.Composite(
                model=ocp.args.StandardSave(both),
                opt_state=ocp.args.StandardSave(state.opt_state),
                notes=ocp.args.JsonSave({"val_loss": 0.5, "name": "small"}),
            )
            manager.save(int(state.step), args=items)
    for name, ocdbt, zarr3 in (
        ("zarr", False, False), ("zarr3", False, True), ("store3", True, True)
    ):  # fmt: skip
        handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_zarr3=zarr3)
        with ocp.Checkpointer(handler) as checkpointer:
            for state in states:
                tree = {"params": state.params, "batch_stats": state.batch_stats}
                path = root / name / f"step_{int(state.step)}"
                checkpointer.save(path, args=ocp.args.PyTreeSave(tree))


def packed(root: Path, states: list[State]) -> None:
    """Write the run as msgpack, by the old function of Flax and by hand."""
    flax.config.update("flax_use_orbax_checkpointing", False)
    (root / "bytes").mkdir()
    for state in states:
        checkpoints.save_checkpoint(root / "legacy", state, int(state.step), keep=9)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        path = root / "bytes" / f"epoch_{int(state.step)}.msgpack"
        path.write_bytes(serialization.to_bytes(variables))
    serialization.MAX_CHUNK_SIZE = 64
    odd = {
        "chunks": np.arange(60, dtype=np.float32).reshape(6, 10),
        "half": jnp.arange(40, dtype=jnp.bfloat16),
        "one": {"number": np.float32(2.5), "complex": 3 + 4j, "text": "x" * 40},
        "empty": np.zeros((0, 3)),
        "flags": np.array([True, False]),
        "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    (root / "odd.msgpack").write_bytes(serialization.msgpack_serialize(odd))


def sharded(root: Path) -> None:
    """Write arrays that lie on four devices, and a model of nnx."""
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("a", "b"))
    spread = NamedSharding(mesh, PartitionSpec("a", "b"))
    tree = {
        "w": jax.device_put(jnp.arange(64.0 * 32).reshape(64, 32), spread),
        "half": jnp.arange(40, dtype=jnp.bfloat16),
        "eighth": jnp.ones((4, 4), jnp.float8_e4m3fn),
        "z": jnp.arange(3, dtype=jnp.complex64),
        "list": [jnp.ones(3), np.ones(2)],
        "nothing": None,
        "text": "text",
    }
    for name, ocdbt, zarr3 in (
        ("zarr", False, False), ("zarr3", False, True),
        ("store", True, False), ("store3", True, True),
    ):  # fmt: skip
        handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_zarr3=zarr3)
        with ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(root / "sharded" / name, args=ocp.args.PyTreeSave(tree))


class Model(nnx.Module):
    """A model of the newer interface."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(10, 8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, 8, decode=False, rngs=rngs)
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.bn = nnx.BatchNorm(4, rngs=rngs)
        self.lstm = nnx.OptimizedLSTMCell(8, 6, rngs=rngs)
        self.plain = nnx.LSTMCell(8, 6, rngs=rngs)
        self.gru = nnx.GRUCell(8, 6, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(11)])


def write(root: Path) -> None:
    """Write all of it."""
    states = trained()
    for state in states:
        expect(root / "expected", state)
    saved(root, states)
    packed(root, states)
    sharded(root)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(root / "nnx" / "step_1", nnx.split(Model(nnx.Rngs(0)))[1])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
