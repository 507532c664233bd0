"""The probe `activations`: maps are those of the network, dead and sparse units are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Classifier, Plain, digits, write_states
from torch import nn

import accweight_core as aw
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.units import Placed, sample_axis, unit_axes


@pytest.fixture
def states() -> list[dict[str, torch.Tensor]]:
    """Three steps of a classifier; in the last two, unit 5 of fc1 can never be above 0."""
    torch.manual_seed(0)
    start = Classifier().state_dict()
    found = [{name: value.clone() for name, value in start.items()} for _ in range(3)]
    for state in found[1:]:
        state["fc1.weight"][5] = 0
        state["fc1.bias"][5] = -1
    return found


def probed(tmp_path: Path, states: Any, asked: str, **how: Any) -> Any:
    run = aw.open_run(write_states(tmp_path / "run", states))
    network, out = Plain(Classifier()), tmp_path / "run.accw"
    return aw.probe(run, network, digits(40), asked, out=out, **how)["activations"]


def layer_values(state: dict[str, torch.Tensor], layer: str) -> np.ndarray[Any, Any]:
    x, _ = digits(40)
    weights = {name: value.numpy() for name, value in state.items()}
    found: np.ndarray[Any, Any]
    found = Plain(Classifier()).with_weights(weights).run({"input": x}, [layer])[layer]
    return found


def test_dead_units_and_sparsity_are_counted_over_all_batches(tmp_path: Path, states: Any) -> None:
    found = probed(tmp_path, states, "activations", batch_size=16)

    table = found.table()
    assert list(table.columns) == ["layer", "step", "sparsity", "dead", "mean", "std"]
    for step, state in enumerate(states):
        for place, layer in enumerate(("conv", "fc1", "fc2")):
            values = layer_values(state, layer)
            row = table[(table["layer"] == layer) & (table["step"] == step)].iloc[0]
            assert row["sparsity"] == pytest.approx((values <= 0).mean())
            assert row["mean"] == pytest.approx(values.mean(), abs=1e-6)
            assert row["std"] == pytest.approx(values.std(), rel=1e-5)
            units = values.reshape(40, values.shape[1], -1).max(axis=2)
            assert row["dead"] == ((units <= 0).all(axis=0)).sum()
            shares = found.array("values", step)[place]
            np.testing.assert_allclose(shares[: units.shape[1]], (units > 0).mean(axis=0))
    assert found.array("values")[:, 1, 5].tolist()[1:] == [0, 0]


def test_maps_of_chosen_samples_are_the_activations(tmp_path: Path, states: Any) -> None:
    found = probed(tmp_path, states, "activations:node=conv,rows=3+17,units=3", batch_size=16)

    values = layer_values(states[0], "conv")[[3, 17], :3]
    np.testing.assert_allclose(found.array("maps", 0)[..., 0], values.reshape(6, 6, 6), atol=1e-6)
    assert found.labels("picture")[4] == "17/1"
    scale = found.array("scale")[0, 1]
    shown = (found.array("images", 0)[..., 0].astype(float) - 128) / 127 * scale
    np.testing.assert_allclose(shown, values.reshape(6, 6, 6), atol=scale / 127)


def test_units_without_positions_are_one_picture(tmp_path: Path, states: Any) -> None:
    found = probed(tmp_path, states, "activations:node=fc1,samples=2,layers=fc1")

    assert found.array("images").shape == (3, 2, 3, 3, 1)
    assert found.labels("layer") == ("fc1",)


def test_samples_that_are_not_there_are_told(tmp_path: Path, states: Any) -> None:
    with pytest.raises(
        ArgumentValueError, match="there is no sample 99; data has 40, counted from 0"
    ):
        probed(tmp_path, states, "activations:rows=3+99")


@pytest.mark.parametrize(
    ("shape", "bias", "axes"),
    [
        ((5, 4, 6, 6), 4, (0, (1,), 4)),
        ((5, 7, 4), 4, (0, (2,), 4)),  # tokens
        ((5, 4, 7), 4, (0, (1,), 4)),  # a convolution over one axis
        ((5, 9), 9, (0, (1,), 9)),
        ((3, 2, 5, 8), 9, (2, (2, 3), 16)),  # a recurrent operator, both directions
        ((7, 5, 4), 9, (1, (2,), 4)),  # tokens before samples
        ((5, 5, 4), 9, (1, (2,), 4)),  # as many tokens as samples
        ((3, 2), 2, None),
        ((5,), 1, None),
    ],
)
def test_samples_and_units_are_found_in_values_of_all_shapes(
    shape: tuple[int, ...], bias: int, axes: tuple[int, tuple[int, ...], int] | None
) -> None:
    own = None if axes is None else axes[0]
    fewer = [n - (axis == own) for axis, n in enumerate(shape)]
    values = np.random.default_rng(0).random(shape)

    placed = Placed.of(shape, sample_axis(shape, fewer))
    found = unit_axes(placed, "fc", {"fc.bias": (bias,)})

    assert axes == (None if found is None else (found.samples, found.units, found.count))
    if found is not None:
        first = np.moveaxis(values, found.samples, 0)
        assert found.of(first).shape == (5, found.count, found.positions)
        np.testing.assert_array_equal(found.back(found.of(first), first.shape), values)


class TokensFirst(nn.Module):
    """Tokens before samples, a table of positions, and a layer that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(9, 4), nn.Embedding(6, 4)
        self.rows, self.idle, self.out = nn.Linear(4, 5), nn.Linear(2, 2), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes."""
        hidden = self.embed(x) + self.places(torch.arange(6))
        scores: torch.Tensor = self.out(torch.relu(self.rows(hidden.transpose(0, 1))).mean(0))
        return scores


def test_layers_of_positions_are_left_out_and_tokens_may_come_first(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, tokens = TokensFirst(), np.random.default_rng(0).integers(0, 9, (40, 6))
    run = aw.open_run(write_states(tmp_path / "run", [module.state_dict()] * 2))
    asked = ["activations:node=rows,samples=3", "attribution:samples=2,unit=0", "representation"]

    found = aw.probe(
        run, Plain(TokensFirst()), tokens, asked, out=tmp_path / "run.accw", batch_size=6
    )

    activations = found["activations"]
    assert activations.labels("layer") == ("embed", "rows", "out")
    assert found["representation"].labels("stage")[1::2] == ("embed", "rows", "out")
    with torch.no_grad():
        inputs = module.embed(torch.from_numpy(tokens)) + module.places(torch.arange(6))
        rows = module.rows(inputs).numpy()  # samples, tokens, units
    shown = activations.array("maps", 0)[:, :, :, 0]
    expected = rows[activations.attributes["rows"]].transpose(0, 2, 1)
    np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-6)
    dead = activations.array("dead", 0)[1]
    assert dead == ((rows <= 0).all(axis=(0, 1))).sum()


def test_layers_are_ranked_by_the_names_of_the_run(tmp_path: Path, states: Any) -> None:
    names = {"conv": "features.first", "fc1": "hidden", "fc2": "head"}
    renamed = [
        {f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": v for key, v in state.items()}
        for state in states
    ]

    found = probed(tmp_path, renamed, "activations")

    assert found.labels("layer") == ("conv", "fc1", "fc2")  # as the network calls them
    assert found.layers_of_run == ("features.first", "hidden", "head")
    ranking = aw.open_analysis(tmp_path / "run.accw").ranking("activations.dead")
    dead = dict(zip(ranking["layer"], ranking["activations.dead"], strict=True))
    assert dead == dict(zip(names.values(), found.array("dead")[-1], strict=True))
    assert dead["hidden"] >= 1
