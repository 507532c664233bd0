"""Binding where values tell little: equal elements, half precision, groups, tied weights; Flax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import Steps, export, steps_of
from networks import DYNAMO, LEGACY
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.execution.onnx_network import OnnxNetwork
from accweight_core.errors import BindingError
from accweight_core.probes.binding.model_check import check_model

CLOSE = 1e-5


class Scaled(nn.Module):
    """A convolution times a scale per channel, which exporters make a constant of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 2, 3)
        self.scale = nn.Parameter(torch.full((6,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps."""
        maps: Tensor = self.out(torch.relu(self.conv(x)) * self.scale.view(1, -1, 1, 1))
        return maps


class TwiceScaled(nn.Module):
    """Two scales that are equal before training, so that exporters store one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.first, self.second = (nn.Parameter(torch.full((6,), 0.01)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers."""
        found: Tensor = self.b(x + self.second * torch.tanh(x + self.first * self.a(x)))
        return found


class Placed(nn.Module):
    """A learned matrix that the input is multiplied by, under a name that tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.out = nn.Parameter(torch.randn(5, 8)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers per row."""
        found: Tensor = self.out(x * self.place)
        return found


class Added(Placed):
    """The same, added."""

    def forward(self, x: Tensor) -> Tensor:
        """Return three numbers per row."""
        found: Tensor = self.out(x + self.place)
        return found


class Grouped(nn.Module):
    """A transposed convolution in groups, with batch norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 8, 3), nn.ConvTranspose2d(8, 6, 3, groups=2)
        self.norm, self.out = nn.BatchNorm2d(6), nn.Conv2d(6, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps."""
        maps: Tensor = self.out(torch.relu(self.norm(self.up(self.conv(x)))))
        return maps


class Tied(nn.Module):
    """A table of tokens that is also the last matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 5)
        self.mix, self.head = nn.Linear(5, 5), nn.Linear(5, 12, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of tokens."""
        scores: Tensor = self.head(torch.tanh(self.mix(self.table(x))))
        return scores


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
def test_a_scale_of_equal_elements_follows_the_run_and_is_doubted(
    tmp_path: Path, exporter: str
) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Scaled(), torch.randn(2, 1, 8, 8), own=0)

    found = steps.checked(steps.run(), steps.graph(exporter))

    assert steps.error(found) < CLOSE
    assert found.binding.proof.verdict == "not verified"
    assert "only scale is left for it; export the graph from a later" in found.binding.proof.reason


def test_scales_that_were_stored_once_are_named_both(tmp_path: Path) -> None:
    torch.manual_seed(0)
    early = Steps.of(tmp_path / "early", TwiceScaled(), torch.randn(3, 6), own=0)
    (tmp_path / "early").mkdir()

    found = early.checked(early.run(), early.graph(DYNAMO))

    assert (
        "one tensor for second and first, which are equal at step 0" in found.binding.proof.reason
    )
    early.own = 1
    later = early.checked(early.run(), export_at(early, 1))
    assert later.binding.proof.verdict == "verified"
    assert early.error(later) < CLOSE


def test_a_graph_of_other_weights_says_that_only_values_tell_what_has_no_kind(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Placed(), torch.randn(2, 5, 8), own=0)
    steps.states[0] = {name: value + 1 for name, value in steps.states[0].items()}
    elsewhere = steps.graph(LEGACY)
    steps.states[0] = steps.states[1]

    with pytest.raises(
        BindingError, match=r"only values can tell .* 'place' \(5x8\) is place .* export the graph"
    ):
        steps.checked(steps.run(), elsewhere)


def test_what_is_only_added_has_its_place_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Added(), torch.randn(2, 5, 8), own=0)
    own = steps.states[0]
    steps.states[0] = {name: value + 1 for name, value in own.items()}
    elsewhere = steps.graph(LEGACY)
    steps.states[0] = own

    found = steps.checked(steps.run(), elsewhere)

    assert steps.error(found) < CLOSE
    assert found.binding.proof.verdict == "not verified"


def export_at(steps: Steps, step: int) -> Path:
    """Return the graph of a step."""
    path = steps.folder / f"at_{step}.onnx"
    return export(steps.at(step), steps.inputs, path, {"dynamo": False})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_norm_folded_from_half_precision_says_how_to_keep_it_apart(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    steps = steps_of("cnn", tmp_path)
    halves = [
        {n: v.to(dtype) if v.is_floating_point() else v for n, v in s.items()} for s in steps.states
    ]
    run = aw.open_run(halves)

    with pytest.raises(BindingError, match=r"norm 'bn1' .* half precision, .*optimize=False"):
        steps.checked(run, steps.graph())
    assert steps.checked(run, steps.graph(apart=True)).ok


def test_a_norm_folded_into_groups_of_a_transposed_convolution_is_undone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Grouped(), torch.randn(2, 1, 8, 8))

    found = steps.checked(steps.run(), steps.graph(DYNAMO))

    assert found.binding.proof.verdict == "verified"
    assert steps.error(found) < CLOSE
    assert any("norm folded in" in item.words for item in found.binding.assignments)


def test_tied_tables_of_one_exporter_are_bound_in_the_graph_of_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Tied(), torch.arange(12).reshape(2, 6))

    for exporter in (LEGACY, DYNAMO):
        found = steps.checked(steps.run("onnx"), steps.graph(exporter))

        assert found.binding.proof.verdict == "verified", found.binding.proof.reason
        assert steps.error(found) < CLOSE


def test_cells_of_flax_are_bound_in_graphs_from_pytorch(tmp_path: Path) -> None:
    linen = pytest.importorskip("flax.linen")
    import jax
    from flax import serialization

    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    for kind, cell, port in (
        (nn.LSTM, linen.OptimizedLSTMCell(5), lstm_of),
        (nn.GRU, linen.GRUCell(5), gru_of),
    ):
        layer, states, wanted = linen.RNN(cell), [], []
        for step in range(3):
            params = layer.init(jax.random.PRNGKey(step), x)["params"]
            params = jax.tree_util.tree_map(lambda v, s=step: v + 0.01 * (s + 1), params)
            chance = np.random.default_rng(step)
            matrix, bias = chance.random((5, 3), np.float32), chance.random(3, np.float32)
            wanted.append(np.asarray(layer.apply({"params": params}, x)) @ matrix + bias)
            params = {**params, "out": {"kernel": matrix, "bias": bias}}
            states.append(flat(params))
            path = tmp_path / f"{kind.__name__}_{step}.msgpack"
            path.write_bytes(serialization.msgpack_serialize(to_numpy({"params": params})))
        module = First(kind)
        module.load_state_dict(port(states[1]))
        network = OnnxNetwork.opened(
            export(
                module, torch.from_numpy(x), tmp_path / f"{kind.__name__}.onnx", {"dynamo": False}
            )
        )

        files = [tmp_path / f"{kind.__name__}_{step}.msgpack" for step in range(3)]
        found = check_model(aw.open_run(files), network)

        assert found.binding.proof.verdict == "verified", found.binding.proof.reason
        for checkpoint, expected in zip(found.binding.run.checkpoints, wanted, strict=True):
            made = found.binding.bind(checkpoint).run(x)["output"]
            np.testing.assert_allclose(made, expected, atol=CLOSE)


class First(nn.Module):
    """A recurrent layer, and three numbers per time."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell = kind(4, 5, batch_first=True)  # type: ignore[arg-type, call-arg]
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers at all times."""
        found: Tensor = self.out(self.cell(x)[0])
        return found


def to_numpy(params: Any) -> Any:
    """Return nested parameters as arrays of NumPy."""
    is_nested = hasattr(params, "items")
    return {n: to_numpy(v) for n, v in params.items()} if is_nested else np.asarray(params)


def flat(params: Any, path: str = "") -> dict[str, np.ndarray]:
    """Return nested parameters by their paths."""
    found: dict[str, np.ndarray] = {}
    for name, value in params.items():
        here = f"{path}/{name}" if path else name
        found |= flat(value, here) if hasattr(value, "items") else {here: np.asarray(value)}
    return found


def lstm_of(state: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the weights of PyTorch's LSTM: gates i f g o, one of both biases 0."""
    part = {key.split("cell/")[-1]: value for key, value in state.items()}
    inner = np.concatenate([part[f"i{gate}/kernel"].T for gate in "ifgo"])
    outer = np.concatenate([part[f"h{gate}/kernel"].T for gate in "ifgo"])
    bias = np.concatenate([part[f"h{gate}/bias"] for gate in "ifgo"])
    return tensors(state, inner, outer, np.zeros_like(bias), bias)


def gru_of(state: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the weights of PyTorch's GRU: gates r z n; the recurrent bias is that of n alone."""
    part = {key.split("cell/")[-1]: value for key, value in state.items()}
    inner = np.concatenate([part[f"i{gate}/kernel"].T for gate in "rzn"])
    outer = np.concatenate([part[f"h{gate}/kernel"].T for gate in "rzn"])
    bias = np.concatenate([part[f"i{gate}/bias"] for gate in "rzn"])
    last = np.concatenate([np.zeros(10, np.float32), part["hn/bias"]])
    return tensors(state, inner, outer, bias, last)


def tensors(state: dict[str, np.ndarray], *arrays: np.ndarray) -> dict[str, Tensor]:
    """Return the state of `First` from the tensors of its recurrent layer, and the projection."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    cell = {f"cell.{n}": torch.from_numpy(a.copy()) for n, a in zip(names, arrays, strict=True)}
    weight, bias = (torch.from_numpy(state[f"out/{leaf}"].copy()) for leaf in ("kernel", "bias"))
    return {**cell, "out.weight": weight.T.contiguous(), "out.bias": bias}
