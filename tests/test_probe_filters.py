"""The probe `filters`: a Gabor that is planted appears where and when it was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from probe_networks import write_states
from torch import nn

import accweight_core as aw
from accweight_core.errors import UnknownNameError
from accweight_core.probes.filters import pictures_of
from accweight_core.probes.pixels import as_pixels, folded
from accweight_core.schema import Axis, Kind, Parameter, Role


def gabor(side: int = 7, angle: float = 0.7) -> npt.NDArray[np.float32]:
    """Return a wave under a bell, from -1 to 1."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    along = x * np.cos(angle) + y * np.sin(angle)
    wave = np.exp(-(x**2 + y**2) / 8) * np.cos(2 * np.pi * along / 4)
    return wave.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_planted_gabor_appears_in_its_filter_at_its_step(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"conv": nn.Conv2d(channels, 6, 7), "fc": nn.Linear(5, 2)})
    states, tint = [], np.float32([1, -0.5, 0.25])[:channels]
    for step in range(5):
        state = {name: value.clone() for name, value in net.state_dict().items()}
        state["conv.weight"] = state["conv.weight"] + 0.001 * step
        if step >= 3:
            planted = torch.from_numpy(tint[:, None, None] * gabor())
            state["conv.weight"][4] = planted
        states.append(state)

    found = aw.probe(
        aw.open_run(write_states(tmp_path / "run", states)),
        probes="filters",
        out=tmp_path / "run.accw",
    )["filters"]

    assert found.attributes["layer"] == "conv"
    images, scale = found.array("images"), found.array("scale")
    assert images.shape == (5, 6, 7, 7, channels)
    assert scale.tolist() == [pytest.approx([-1, 1], abs=1e-6)] * 5  # the peak of the Gabor
    shown = (images[3, 4].astype(float) - 128) / 127
    np.testing.assert_allclose(shown, gabor()[..., None] * tint, atol=0.5 / 127 + 1e-3)
    similarity = found.array("similarity")
    assert abs(similarity[2, 4]) < 0.5
    assert similarity[3, 4] == pytest.approx(1)
    assert (similarity[:, [0, 1, 2, 3, 5]] > 0.99).all()
    assert found.table("unit").query("unit == '4'")["norm"].iloc[3] == pytest.approx(
        np.linalg.norm(gabor()) * np.linalg.norm(tint), rel=1e-5
    )


def parameter(shape: tuple[int, ...], *axes: Axis) -> Parameter:
    return Parameter("w", "layer", Kind.CONV, Role.WEIGHT, shape, "float32", axes)


def test_axes_are_taken_by_their_meaning() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3, 5, 6))
    torch_order = parameter(weights.shape, Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.KERNEL)
    moved = weights.transpose(2, 3, 1, 0)
    jax_order = parameter(moved.shape, Axis.KERNEL, Axis.KERNEL, Axis.INPUT, Axis.OUTPUT)

    one, other = pictures_of(weights, torch_order), pictures_of(moved, jax_order)

    assert one.shape == (4, 5, 6, 3)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[1, :, :, 2], weights[1, 2])


def test_layers_without_a_kernel_are_folded() -> None:
    def shown(inputs: int) -> npt.NDArray[np.float64]:
        axes = parameter((2, inputs), Axis.OUTPUT, Axis.INPUT)
        return pictures_of(np.arange(2.0 * inputs).reshape(2, inputs), axes)

    assert shown(192).shape == (2, 8, 8, 3)
    assert shown(192)[0, 0, 1].tolist() == [1, 65, 129]
    assert shown(12).shape == (2, 3, 4, 1)  # too few for a picture in colour
    assert shown(22).shape == (2, 2, 11, 1)
    filled = shown(13)
    assert filled.shape == (2, *folded(13), 1)
    assert np.isnan(filled[0, -1, -3:]).all()
    assert as_pixels(filled, 1).min() == 0


def test_what_fills_up_a_picture_counts_for_nothing(tmp_path: Path) -> None:
    states = [{"fc.weight": torch.arange(26.0).reshape(2, 13) + step} for step in range(2)]
    run = aw.open_run(write_states(tmp_path / "run", states))

    found = aw.probe(run, probes="filters", out=tmp_path / "run.accw")["filters"]

    expected = np.linalg.norm(states[0]["fc.weight"].numpy(), axis=1)
    np.testing.assert_allclose(found.array("norm", 0), expected)
    np.testing.assert_allclose(found.array("similarity", 1), 1)


def test_a_layer_that_has_no_filters_is_told(tmp_path: Path) -> None:
    net = nn.ModuleDict({"conv": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2)})
    run = aw.open_run(write_states(tmp_path / "run", [net.state_dict()] * 2))

    with pytest.raises(UnknownNameError, match=r"no layer 'norm' has filters; .* do: conv"):
        aw.probe(run, probes="filters:layer=norm", out=tmp_path / "run.accw")
