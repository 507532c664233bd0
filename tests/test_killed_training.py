"""Killed, really, after a checkpoint or at any moment: what goes on is tracked without a gap."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from thorough import THOROUGH, sampled

import accweight_core as aw

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

STEPS = {
    "jax": list(range(0, 13, 2)),
    "keras": list(range(0, 13, 2)),
    "trainer": list(range(13)),
    "lightning": list(range(13)),
}


KILLS = 30 if THOROUGH else 4


def killed(
    framework: str, library: str, folder: Path, kills: int = 0
) -> tuple[aw.Analysis, list[aw.Analysis]]:
    """Return the analysis of training that was never killed, and of those that were."""
    if find_spec(library) is None:
        pytest.skip(f"needs {library}")
    driver = Path(__file__).with_name("killed_training.py")
    command = [sys.executable, str(driver), framework, str(folder), "1", str(kills)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = [aw.open_analysis(path / "run.accw") for path in sorted(folder.glob("killed*"))]
    return aw.open_analysis(folder / "whole" / "run.accw"), found


@pytest.mark.parametrize(
    ("framework", "library"),
    list(
        sampled(  # those first that have had gaps; each takes ten seconds, most of it for imports
            [
                ("keras", "keras"),
                ("jax", "flax"),
                ("trainer", "transformers"),
                ("lightning", "pytorch_lightning"),
            ],
            stride=2,
        )
    ),
)
def test_training_that_is_killed_and_goes_on_is_tracked_as_if_it_had_never_stopped(
    tmp_path: Path, framework: str, library: str
) -> None:
    whole, (found,) = killed(framework, library, tmp_path)

    assert whole.steps.tolist() == found.steps.tolist() == STEPS[framework]
    assert found.values.tobytes() == whole.values.tobytes()


@pytest.mark.parametrize(
    ("framework", "library"),
    list(
        sampled(
            [
                ("torch, no state", "torch"),
                ("torch", "torch"),
                ("torch, files", "torch"),
                ("jax", "flax"),
            ],
            stride=4,
        )
    ),
)
def test_a_loop_that_is_killed_at_any_moment_is_tracked_as_if_it_had_never_stopped(
    tmp_path: Path, framework: str, library: str
) -> None:
    whole, trained = killed(framework, library, tmp_path, KILLS)

    assert trained
    for found in trained:
        assert found.steps.tolist() == whole.steps.tolist()
        assert found.values.tobytes() == whole.values.tobytes()
        assert str(found.header.measures) == str(whole.header.measures)


@pytest.mark.skipif(not THOROUGH, reason="takes minutes; without ACCWEIGHT_THOROUGH one is enough")
def test_learning_that_is_killed_at_any_moment_has_no_gap(tmp_path: Path) -> None:
    whole, trained = killed("sb3", "stable_baselines3", tmp_path, KILLS)

    for found in trained:
        steps = found.steps.tolist()
        assert steps[:3] == whole.steps.tolist()[:3]
        assert found.values[:3].tobytes() == whole.values[:3].tobytes()
        assert max(after - before for before, after in pairwise(steps)) < 16
        assert steps[-1] >= whole.steps[-1]


def test_learning_that_is_killed_within_a_rollout_has_all_steps_before_it(tmp_path: Path) -> None:
    whole, (found,) = killed("sb3", "stable_baselines3", tmp_path)

    steps = found.steps.tolist()
    told = steps.index(24) + 1  # the first file has the weights of this step
    assert steps[:told] == whole.steps.tolist()[:told]
    assert found.values[:told].tobytes() == whole.values[:told].tobytes()
    assert max(after - before for before, after in pairwise(steps)) < 16  # each rollout of 8
