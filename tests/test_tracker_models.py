"""What a tracker can be given: models and states of several frameworks, by the names of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keras_models import network, quiet
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

import accweight_core as aw
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    MismatchError,
    SourceError,
    UnsupportedDtypeError,
)
from accweight_core.live.weights import weights_of
from accweight_core.naming import layers_of
from accweight_core.schema import Parameter


def parameters_of(model: Any) -> list[Parameter]:
    layers = layers_of(weights_of(model).described())
    return [parameter for layer in layers for parameter in layer.parameters]


def parameters_in(paths: list[Path]) -> list[Parameter]:
    layers = aw.open_run(paths).layers
    return [parameter for layer in layers for parameter in layer.parameters]


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


class Tied(nn.Module):
    """A language model whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(11, 4)
        self.mix = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 11, bias=False)
        self.lm_head.weight = self.wte.weight


class Algorithm:
    """What Stable-Baselines3 offers: a policy that is a module."""

    def __init__(self) -> None:
        self.policy = small()


TORCH: dict[str, Callable[[], Any]] = {
    "module": small,
    "state": lambda: small().state_dict(),
    "parallel": lambda: nn.DataParallel(small()),
    "compiled": lambda: torch.compile(small()),
    "compiled within": lambda: nn.Sequential(torch.compile(small()), nn.Linear(2, 2)),
    "tied": Tied,
    "policy": Algorithm,
}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch.compile itself
@pytest.mark.parametrize("kind", TORCH)
def test_models_of_torch_have_the_parameters_of_their_files(kind: str, tmp_path: Path) -> None:
    model = TORCH[kind]()
    module = getattr(model, "policy", model)
    state = module if isinstance(module, dict) else module.state_dict()
    paths = [tmp_path / f"epoch_{step}.pt" for step in range(2)]
    for path in paths:
        torch.save(state, path)

    assert parameters_of(model) == parameters_in(paths)


def test_entries_of_a_state_that_are_no_tensors_are_left_out() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"seen": 3}

        def set_extra_state(self, state: object) -> None:
            pass

    assert [p.name for p in parameters_of(Extra(2, 2))] == ["weight", "bias"]


def test_a_keras_model_has_the_parameters_of_its_file(tmp_path: Path) -> None:
    pytest.importorskip("keras")

    paths = [tmp_path / f"epoch_{step}.keras" for step in range(2)]
    with quiet():
        model = network()
        for path in paths:
            model.save(path)

    tracker = aw.ChangeTracker(errors="raise").update(model).update(model)

    assert parameters_of(model) == parameters_in(paths)
    assert tracker.analysis().steps.tolist() == [0, 1]


def test_a_keras_model_without_weights_says_so() -> None:
    keras = pytest.importorskip("keras")

    with quiet():
        model = keras.Sequential([keras.layers.Dense(3)])
    with pytest.raises(MismatchError, match="has no weights yet at step 0; build it"):
        aw.ChangeTracker(errors="raise").update(model)


def test_variables_of_flax_have_the_parameters_of_their_file(tmp_path: Path) -> None:
    linen, serialization = (
        pytest.importorskip("flax.linen"),
        pytest.importorskip("flax.serialization"),
    )
    jax = pytest.importorskip("jax")

    class Net(linen.Module):  # type: ignore[misc, name-defined]
        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = linen.Conv(2, (3, 3))(x)
            x = linen.BatchNorm(use_running_average=True)(x)
            return linen.Dense(3)(x.reshape(1, -1))

    variables = Net().init(jax.random.key(0), jax.numpy.ones((1, 5, 5, 1)))
    paths = [tmp_path / f"epoch_{step}.msgpack" for step in range(2)]
    for path in paths:
        path.write_bytes(serialization.to_bytes(variables))

    assert parameters_of(variables) == parameters_in(paths)
    assert [p.name for p in parameters_of(variables["params"])][:2] == [
        "Conv_0.kernel",
        "Conv_0.bias",
    ]


def test_a_module_of_nnx_is_its_state_without_random_numbers() -> None:
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):  # type: ignore[misc, name-defined]
        def __init__(self, rngs: Any) -> None:
            self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.head = nnx.Linear(2, 3, rngs=rngs)

    tracker = aw.ChangeTracker(errors="raise")
    for _ in range(2):
        tracker.update(Net(nnx.Rngs(0)))

    expected = ["conv.kernel", "conv.bias", "head.kernel", "head.bias"]
    assert [p.name for p in tracker.analysis().parameters] == expected
    assert not tracker.cumulative("conv.kernel").any()


@pytest.mark.parametrize("model", [5, None, "model", [torch.ones(2)], torch.ones(2)], ids=repr)
def test_what_is_no_model_is_an_error_that_lists_models(model: Any) -> None:
    with pytest.raises(AccweightError, match=r"expected a model, its state_dict.., or a mapping"):
        aw.ChangeTracker(errors="raise").update(model)


def test_flat_shards_that_tell_nothing_of_their_parameters_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flat = FullyShardedDataParallel.__new__(FullyShardedDataParallel)  # as of another version
    nn.Module.__init__(flat)
    flat._fsdp_wrapped_module = nn.Linear(2, 2)
    tracker = aw.ChangeTracker()

    tracker.update(nn.Sequential(nn.Linear(2, 2), flat))

    assert "does not tell what is in its shards" in caplog.text
    assert "shard with fully_shard" in caplog.text


def test_weights_that_deepspeed_has_taken_away_are_refused_until_they_are_gathered() -> None:
    model = nn.Linear(3, 2)
    weights = model.weight.detach().clone()
    for parameter in model.parameters():
        parameter.ds_numel = parameter.numel()
    tracker = aw.ChangeTracker(errors="raise")

    tracker.update(model)
    model.weight.data = torch.empty(0)
    with pytest.raises(ArgumentTypeError, match=r"'weight' is sharded by DeepSpeed .*Gathered"):
        tracker.update(model)
    model.weight.data = weights + 1
    tracker.update(model)

    assert tracker.cumulative("weight").tolist() == pytest.approx(np.ones((2, 3)))


def test_a_nested_mapping_without_weights_is_an_error() -> None:
    with pytest.raises(SourceError, match="holds no weights"):
        aw.ChangeTracker(errors="raise").update({"opt_state": {"mu": torch.ones(2)}})


@pytest.mark.parametrize("values", [np.array([[1, None]]), np.array(["a"]), np.zeros(3, "f4,f4")])
def test_what_is_no_number_is_named(values: np.ndarray) -> None:
    tracker = aw.ChangeTracker(errors="raise")

    with pytest.raises(
        UnsupportedDtypeError, match=r"'fc.bias' cannot .* not numbers; leave it out"
    ):
        tracker.update({"fc.weight": np.ones((2, 2)), "fc.bias": values})


@pytest.mark.parametrize(("long", "known"), [("g", "f8"), ("G", "c16")])
def test_long_doubles_are_tracked_as_the_widest_numbers_that_torch_has(
    long: str, known: str
) -> None:
    totals = []
    for dtype in (long, known):
        tracker = aw.ChangeTracker(errors="raise")
        for step in range(3):
            weights = np.linspace(0.1, 0.2, 6) * step * (1 + 1j if known == "c16" else 1)
            tracker.update({"fc.weight": weights.reshape(2, 3).astype(dtype)})
        totals.append(tracker.cumulative("fc.weight"))

    assert totals[0].tobytes() == totals[1].tobytes()
