"""The probe `feature_visualization`: optima are those of planted units, and appear when planted."""

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
from accweight_core.probes.feature_visualization import FeatureVisualization
from accweight_core.probes.pixels import shown

STEPS = (0, 10, 20, 100, 200)
THERE = {"0": 20, "1": 100, "2": 200}


class Deep(nn.Sequential):
    """Three linear layers."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(9, 6), nn.Linear(6, 6), nn.Linear(6, 4))


def probed(folder: Path, states: Any, options: str, network: Any, data: Any) -> Any:
    out = folder / "run.accw"
    if not out.exists():
        aw.analyze(aw.open_run(write_states(folder / "run", states)), out)
    found = aw.probe(out, network, data, f"feature_visualization:{options}".rstrip(":"))
    return found["feature_visualization"]


def vectors(count: int, length: int) -> tuple[Any, Any]:
    """Return some random samples, and classes."""
    drawn = np.random.default_rng(0).random((count, length), np.float32)
    return drawn, np.zeros(count, np.int64)


def test_a_linear_unit_is_found_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    states = [Deep().state_dict() for _ in range(2)]

    found = probed(tmp_path, states, "layers=0,units=6", Plain(Deep()), vectors(4, 9))

    expected = 20 * states[1]["0.weight"].numpy()
    np.testing.assert_allclose(found.array("optimum", 1), expected, rtol=1e-6)
    values = (expected * states[1]["0.weight"].numpy()).sum(axis=1) + states[1]["0.bias"].numpy()
    np.testing.assert_allclose(found.array("value", 1), values, rtol=1e-5)


def test_features_appear_at_the_steps_where_they_were_planted(tmp_path: Path) -> None:
    torch.manual_seed(1)
    last, run = Deep().state_dict(), {}
    for step in STEPS:
        torch.manual_seed(step + 2)
        other = Deep().state_dict()
        run[step] = {
            name: last[name] if step >= THERE[name.split(".")[0]] else other[name] for name in last
        }
    out = tmp_path / "run.accw"
    folder = tmp_path / "run"
    folder.mkdir()
    for step, state in run.items():
        torch.save(state, folder / f"step_{step}.pt")
    aw.analyze(aw.open_run(folder), out)

    found = aw.probe(out, Plain(Deep()), vectors(4, 9), "feature_visualization:units=4")
    result = found["feature_visualization"]

    onset = result.array("onset")
    assert onset.tolist() == [20] * 4 + [100] * 4 + [200] * 4
    line, *_ = FeatureVisualization.summary(result)
    assert line.endswith("0 20, 1 100, 2 200")


def test_units_of_convolutions_gain_before_the_activation(tmp_path: Path) -> None:
    torch.manual_seed(3)
    states = [Classifier().state_dict() for _ in range(2)]

    found = probed(
        tmp_path, states, "begin_at=mean,units=3,position=all", Plain(Classifier()), digits(24)
    )

    assert found.labels("layer") == ("conv", "fc1", "fc2")
    assert (found.array("gain") > 0).all()
    module = Classifier()
    module.load_state_dict(states[1])
    with torch.no_grad():
        optimum = torch.from_numpy(found.array("optimum", 1)[1:2])
        assert module.conv(optimum)[0, 1].sum() == pytest.approx(
            found.array("value", 1)[1], rel=1e-4
        )
    assert found.array("images").shape == (2, 9, 8, 8, 1)


def test_a_channel_is_excited_at_the_centre_by_its_own_kernel(tmp_path: Path) -> None:
    torch.manual_seed(6)
    states = [Classifier().state_dict() for _ in range(2)]

    found = probed(tmp_path, states, "layers=conv,units=4", Plain(Classifier()), digits(24))

    optima = found.array("optimum", 1)[:, 0]
    np.testing.assert_allclose(
        optima[:, 3:6, 3:6], 20 * states[1]["conv.weight"].numpy()[:, 0], rtol=1e-5
    )
    assert np.count_nonzero(optima) == 4 * 9


def test_units_without_a_gradient_are_told(tmp_path: Path) -> None:
    torch.manual_seed(4)
    states = [Classifier().state_dict() for _ in range(2)]
    for state in states:
        state["conv.bias"][:] = -1.0

    found = probed(tmp_path, states, "layers=fc1,units=2", Plain(Classifier()), digits(24))

    assert np.isnan(found.array("onset")).all()
    assert "no gradient where the ascent begins" in FeatureVisualization.summary(found)[1]


def test_decay_and_blur_make_optima_smaller_and_smoother(tmp_path: Path) -> None:
    torch.manual_seed(5)
    states = [Classifier().state_dict() for _ in range(2)]
    network, data = Plain(Classifier()), digits(24)

    plain, decayed, blurred = (
        probed(tmp_path, states, f"layers=fc1,begin_at=mean{options}", network, data).array(
            "optimum", 1
        )
        for options in ("", ",decay=0.2", ",blur=1.0")
    )

    assert np.abs(decayed).max() < np.abs(plain).max()
    assert np.abs(np.diff(blurred, axis=-1)).mean() < np.abs(np.diff(plain, axis=-1)).mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("units=0", "units is 0; expected at least 1"),
        ("decay=1.0", "decay is 1; expected at least 0 and below 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: str, message: str) -> None:
    states = [Classifier().state_dict() for _ in range(2)]

    with pytest.raises(ArgumentValueError, match=message):
        probed(tmp_path, states, options, Plain(Classifier()), digits(24))


def test_inputs_are_shown_in_colour_or_folded() -> None:
    assert shown(np.zeros((2, 3, 4, 5))).shape == (2, 4, 5, 3)
    assert shown(np.zeros((2, 7))).shape == (2, 3, 3, 1)


class Shifted(nn.Module):
    """A first layer that moves with the picture, and a last one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1, padding_mode="circular", bias=False)
        self.last = nn.Linear(3, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return five numbers."""
        found: torch.Tensor = self.last(torch.relu(self.first(x)).sum((2, 3)))
        return found


def test_pictures_of_a_class_agree_in_the_layer_that_does_not_move_with_them(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    templates = chance.random((3, 1, 8, 8), np.float32)
    labels = np.arange(30) % 3
    moves = chance.integers(0, 8, (30, 2))
    shifted = [np.roll(templates[k], tuple(m), (1, 2)) for k, m in zip(labels, moves, strict=True)]
    states = [Shifted().state_dict() for _ in range(2)]
    run = aw.open_run(write_states(tmp_path / "run", states))
    data = np.stack(shifted), labels

    found = aw.probe(
        run, Plain(Shifted()), data, "feature_visualization:units=2", out=tmp_path / "run.accw"
    )["feature_visualization"]

    first, last = found.array("agreement")[-1]
    assert first < 0.3  # what there is comes from equal shifts
    assert last > 1.2  # pictures of one class are the same there: 1, of three others about -1/2
    table = found.table()
    assert table[table["layer"] == "last"]["agreement"].iloc[-1] == last
    assert any(f"last {last:.2f}" in line for line in FeatureVisualization.summary(found))


def test_without_classes_no_agreement_is_stored(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = aw.open_run(write_states(tmp_path / "run", [Shifted().state_dict()] * 2))
    x = np.random.default_rng(0).random((8, 1, 8, 8), np.float32)

    found = aw.probe(
        run, Plain(Shifted()), x, "feature_visualization:units=2", out=tmp_path / "run.accw"
    )

    assert "agreement" not in found["feature_visualization"].arrays
