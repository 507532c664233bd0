"""The probe `representation`: stages are the values themselves, and two spirals come apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from probe_networks import Plain, trained, write_states
from torch import nn

import accweight_core as aw
from accweight_core.analysis.motion import between
from accweight_core.probes.representation import Representation, stages_of

Array = np.ndarray[Any, Any]


def spirals(count: int = 160) -> tuple[Array, Array]:
    """Return points on two arms that turn around each other, and their arms."""
    turn = np.linspace(0.5, 3.2, count // 2)
    arm = np.stack([turn * np.cos(2 * turn), turn * np.sin(2 * turn)], axis=1) / 2
    x = np.concatenate([arm, -arm]).astype(np.float32)
    return x, np.repeat([0, 1], count // 2).astype(np.int64)


def probed(tmp_path: Path, module: nn.Module, states: Any, data: Any, asked: str) -> Any:
    run = aw.open_run(write_states(tmp_path / "run", states))
    return aw.probe(run, Plain(module), data, asked, out=tmp_path / "run.accw")["representation"]


def test_two_spirals_are_told_apart_by_a_plane_in_the_end(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2)
    )
    x, y = spirals()
    states = trained(module, x, y, epochs=90, rate=0.02)

    found = probed(tmp_path, module, states[::30], (x, y), "representation")

    stages = ("input", "0", "0, bent", "2", "2, bent", "4")
    assert found.labels("stage") == stages
    told = found.array("separability")
    assert told[0, 0] < 0.75
    assert told[-1, 0] == told[0, 0], "the input is the same at all steps"
    assert told[-1, -2:].min() > 0.97
    assert told[0, -1] < 0.9
    assert found.array("views").shape == (4, 6, 160, 2)
    np.testing.assert_allclose(found.array("views", 0)[0], x)


def test_stages_of_two_axes_are_the_values_and_the_way_between_is_the_map(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    x, y = spirals(40)
    states = [module.state_dict(), {n: v * 2 for n, v in module.state_dict().items()}]

    found = probed(tmp_path, module, states, (x, y), "representation:activation=tanh")

    views = found.array("views", 1)
    weight, bias = (states[1][name].numpy() for name in ("0.weight", "0.bias"))
    affine = x @ weight.T + bias
    np.testing.assert_allclose(between(views[0], views[1], 0), x, atol=1e-6)
    np.testing.assert_allclose(between(views[0], views[1], 1), affine, atol=1e-6)
    np.testing.assert_allclose(between(views[1], views[2], 1), np.tanh(affine), atol=1e-6)
    half = x @ (0.5 * np.eye(2) + 0.5 * weight).T + 0.5 * bias
    np.testing.assert_allclose(between(views[0], views[1], 0.5), half, atol=1e-6)


def test_the_summary_leaves_out_stages_that_no_function_bends(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    states = [module.state_dict(), {n: v * 2 for n, v in module.state_dict().items()}]

    found = probed(tmp_path, module, states, spirals(40), "representation:activation=none")

    (line,) = Representation.summary(found)
    assert [part.split(" ")[-2] for part in line.split("; ")] == ["input", "0", "1"]


def test_three_axes_and_many_features_have_their_room(tmp_path: Path) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Flatten(), nn.Linear(1200, 5), nn.ReLU(), nn.Linear(5, 3))
    x = np.random.default_rng(0).standard_normal((20, 1200)).astype(np.float32)
    states = [module.state_dict(), {n: v * 2 for n, v in module.state_dict().items()}]

    found = probed(tmp_path, module, states, (x, np.arange(20) % 3), "representation:axes=3")

    assert found.array("features").shape == (2, 4, 20, 1024)
    assert found.array("views").shape == (2, 4, 20, 3)
    assert np.isfinite(found.array("views")).all()
    before = np.linalg.norm(x[:, None] - x[None], axis=2)
    kept = found.array("features", 0)[0]
    after = np.linalg.norm(kept[:, None] - kept[None], axis=2)
    np.testing.assert_allclose(after, before, rtol=0.2)


def test_a_single_layer_has_no_function_behind_it() -> None:
    assert stages_of(["a"]) == ("input", "a")
