"""Checkpoints of RLlib before 2.0: a pickle whose entry `worker` is the bytes of another."""

from __future__ import annotations

import gzip
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

import accweight_core as aw
from accweight_adapters.pickled.reader import PickleReader
from accweight_core.errors import FormatError
from accweight_core.naming import layers_of
from accweight_core.runs.inspection import inspected
from accweight_core.schema import Axis, Extent, HiddenValues
from accweight_core.testing import values_of

READER = PickleReader()


class RunningStat:
    """The statistics of observations that RLlib keeps beside the policy."""

    def __init__(self) -> None:
        self.mean = np.zeros(4)
        self.count = 7


def torch_policy(value: float) -> dict[str, Any]:
    """Return what `TorchPolicy.get_state` of ray 1.13 returns."""
    names = ("_hidden_layers.0._model.0", "_logits._model.0", "_value_branch._model.0")
    weights = OrderedDict[str, np.ndarray]()
    for number, name in enumerate(names):
        weights[f"{name}.weight"] = np.full((8, 4), value + number, np.float32)
        weights[f"{name}.bias"] = np.full(8, value + number, np.float32)
    moments = {0: {"step": torch.tensor(5.0), "exp_avg": np.full((8, 4), 99.0, np.float32)}}
    return {
        "weights": weights,
        "global_timestep": 4000,
        "_optimizer_variables": [{"state": moments, "param_groups": [{"lr": 1e-3}]}],
        "_exploration_state": {"last_timestep": np.int64(4000)},
    }


def tf_policy(value: float) -> dict[str, Any]:
    """Return what `TFPolicy.get_state` of ray 0.8 returns: the weights and more in one mapping."""
    return {
        "default_policy/fc_1/kernel": np.full((4, 8), value, np.float32),
        "default_policy/fc_1/bias": np.full(8, value, np.float32),
        "_optimizer_variables": {"default_policy/fc_1/kernel/Adam": np.ones((4, 8), np.float32)},
    }


def write_trainer(
    folder: Path, iteration: int, policies: dict[str, dict[str, Any]], *, packed: bool = False
) -> Path:
    """Write what `Trainer.save` writes: the state, and the metadata of Tune beside it."""
    worker = {
        "filters": dict.fromkeys(policies, RunningStat()),
        "state": policies,
        "policy_specs": {name: (None, {"seed": None}) for name in policies},
        "policy_mapping_fn": lambda agent, *_: "default_policy",
    }
    home = folder / f"checkpoint_{iteration:06d}"
    home.mkdir(parents=True)
    path = home / f"checkpoint-{iteration}"
    counters = {"counters": {"num_env_steps_sampled": 4000 * iteration}}
    content = pickle.dumps({"worker": cloudpickle.dumps(worker), "train_exec_impl": counters})
    path.write_bytes(gzip.compress(content) if packed else content)
    metadata = {"iteration": iteration, "timesteps_total": 4000 * iteration, "ray_version": "1.13"}
    path.with_name(f"{path.name}.tune_metadata").write_bytes(pickle.dumps(metadata))
    (home / ".is_checkpoint").touch()
    return path


def weights(path: Path) -> dict[str, np.ndarray]:
    """Return the weights that the reader finds."""
    assert READER.recognises(path)
    return {tensor.name: values_of(tensor) for tensor in READER.describe(path).tensors}


def test_the_weights_of_the_only_policy_have_its_own_names(tmp_path: Path) -> None:
    path = write_trainer(tmp_path, 10, {"default_policy": torch_policy(2.0)})

    found = weights(path)

    expected = torch_policy(2.0)["weights"]
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_weights_beside_the_optimizers_variables_are_found(tmp_path: Path) -> None:
    path = write_trainer(tmp_path, 10, {"default_policy": tf_policy(3.0)})

    found = weights(path)

    assert list(found) == ["default_policy.fc_1.kernel", "default_policy.fc_1.bias"]
    assert (found["default_policy.fc_1.kernel"] == 3).all()
    (layer,) = layers_of(READER.describe(path).tensors)
    assert layer.parameters[0].axes == (Axis.INPUT, Axis.OUTPUT)


def test_replay_buffers_beside_the_worker_are_no_weights(tmp_path: Path) -> None:
    path = write_trainer(tmp_path, 10, {"default_policy": torch_policy(2.0)})
    content = pickle.loads(path.read_bytes())
    content["local_replay_buffer"] = [{"_storage": [{"obs": np.zeros((9, 4), np.float32)}]}]
    path.write_bytes(pickle.dumps(content))

    assert list(weights(path)) == list(torch_policy(2.0)["weights"])


def test_several_policies_keep_their_names(tmp_path: Path) -> None:
    policies = {"red": torch_policy(1.0), "blue": torch_policy(2.0)}

    found = weights(write_trainer(tmp_path, 1, policies))

    assert (found["blue._logits._model.0.weight"] == 3).all()
    assert len(found) == 12


def test_inner_arrays_are_byte_ranges_of_the_file(tmp_path: Path) -> None:
    path = write_trainer(tmp_path, 10, {"default_policy": torch_policy(2.0)})

    matrices = [t for t in READER.describe(path).tensors if len(t.shape) == 2]

    assert len(matrices) == 3
    assert all(isinstance(tensor.values, Extent) for tensor in matrices)


def test_a_compressed_checkpoint_is_read(tmp_path: Path) -> None:
    path = write_trainer(tmp_path, 10, {"default_policy": torch_policy(2.0)}, packed=True)

    assert (weights(path)["_logits._model.0.bias"] == 3).all()
    tensors = READER.describe(path).tensors
    assert all(isinstance(tensor.values, HiddenValues) for tensor in tensors)


def test_a_folder_of_tune_is_one_run(tmp_path: Path) -> None:
    for iteration in (9, 10, 100):
        write_trainer(tmp_path, iteration, {"default_policy": torch_policy(float(iteration))})
    for name in ("params.json", "result.json", "progress.csv", "events.out.tfevents.1.host"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "params.pkl").write_bytes(cloudpickle.dumps({"lr": 1e-3, "env": lambda: None}))

    found = inspected(tmp_path)

    assert found.run is not None
    assert found.run.steps == (9, 10, 100)
    assert found.left_out == ()
    assert [layer.name for layer in found.layers][:1] == ["_hidden_layers.0._model.0"]


def test_a_run_is_analysed(tmp_path: Path) -> None:
    for iteration in (1, 2):
        write_trainer(tmp_path, iteration, {"default_policy": torch_policy(float(iteration))})

    analysis = aw.analyze(tmp_path, out=tmp_path / "run.accw")

    np.testing.assert_array_equal(analysis.cumulative("_logits._model.0.bias"), np.ones(8))


def test_an_inner_pickle_that_is_cut_short_says_so(tmp_path: Path) -> None:
    inner = pickle.dumps({"state": torch_policy(1.0)})
    path = tmp_path / "checkpoint-1"
    path.write_bytes(pickle.dumps({"worker": inner[:-9], "more": b"x" * 100}))

    assert READER.recognises(path)
    with pytest.raises(FormatError, match=r"'worker' is cut short|damaged"):
        READER.describe(path)


def test_a_command_in_an_inner_pickle_is_never_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    path = tmp_path / "checkpoint-1"
    path.write_bytes(pickle.dumps({"worker": pickle.dumps([torch_policy(1.0), Attack()])}))

    with pytest.raises(FormatError, match="system"):
        READER.describe(path)
    assert not (tmp_path / "run").exists()


def test_bytes_beside_weights_are_left_alone(tmp_path: Path) -> None:
    beside = pickle.dumps({"fc.weight": np.ones((4, 4), np.float32)})
    path = tmp_path / "epoch_1.pkl"
    path.write_bytes(pickle.dumps({"model": {"a.w": np.ones((2, 2), np.float32)}, "old": beside}))

    assert list(weights(path)) == ["a.w"]
