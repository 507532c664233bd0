"""The probe `failure`: the unit that was made huge is named, and found to feed what breaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from probe_networks import probed, said, stack, steps_of

from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.analysis.figures.page import Drawing

X = np.random.default_rng(0).uniform(0.5, 1, (40, 6)).astype(np.float32)


def test_one_unit_made_huge_is_named_first_and_feeds_the_rest(tmp_path: Path) -> None:
    states = steps_of(stack(6, 8, 8, 3), 5)
    for step in (3, 4):
        states[step]["0.weight"][5] = 1e6

    found = probed(tmp_path, stack(6, 8, 8, 3), states, X, "failure:tried=16")

    assert found.array("failed").tolist() == [3, 0, 5]
    assert found.array("exploded")[:3].sum() == 0
    assert found.array("exploded", 3)[0] == 1
    assert found.labels("candidate")[0] == "0/5"
    credit = found.array("credit")
    assert credit[0] > 4
    assert credit[0] > credit[1] + 0.5
    lines = said(found)
    assert lines[0] == "fails first at step 3: 0/5 explodes"
    assert "without: 0/5" in lines[1]
    few = probed(tmp_path, stack(6, 8, 8, 3), states, X, "failure:tried=1")
    assert few.labels("candidate") == ("0/5",), "where it starts is tried first"


def test_a_unit_that_climbs_step_by_step_is_held_against_its_median(tmp_path: Path) -> None:
    states = steps_of(stack(6, 8, 3), 6)
    for step, times in ((3, 10), (4, 50), (5, 250)):  # never 100 times the step before
        for name in ("0.weight", "0.bias"):
            states[step][name][5] *= times

    found = probed(tmp_path, stack(6, 8, 3), states, X, "failure")

    assert found.array("failed").tolist() == [5, 0, 5]


def test_the_figure_has_the_step_that_failed_and_the_one_before(tmp_path: Path) -> None:
    states = steps_of(stack(6, 8, 3), 9)
    for step in range(6, 9):
        states[step]["0.weight"][5] = 1e6

    drawn = figures_of(probed(tmp_path, stack(6, 8, 3), states, X, "failure"))["values"]()
    whole = figures_of(probed(tmp_path, stack(6, 8, 3), states[:6], X, "failure"))

    assert _steps(drawn) == ["step 5", "step 6", "step 8"]
    assert _steps(whole["values"]()) == ["step 0", "step 2", "step 5"]


def _steps(drawn: Drawing) -> list[str]:
    """Return the names of the steps that a figure has."""
    return [text.get_text() for text in drawn.texts if text.get_text().startswith("step ")]


def test_the_layer_that_is_not_finite_is_named_first(tmp_path: Path) -> None:
    states = steps_of(stack(6, 8, 8, 3), 4)
    states[2]["2.weight"][4, 1] = torch.nan
    states[3]["0.weight"][:] = torch.nan

    found = probed(tmp_path, stack(6, 8, 8, 3), states, X, "failure")

    assert found.array("failed").tolist() == [2, 1, 4]
    assert found.array("broken", 2).tolist() == [0, 1, 3]
    assert said(found)[0] == "fails first at step 2: 2/4 is not finite"
    assert found.labels("candidate")[0] == "2/4"


def test_a_run_that_does_not_fail_is_said_to(tmp_path: Path) -> None:
    found = probed(tmp_path, stack(6, 4, 3), steps_of(stack(6, 4, 3), 3), X, "failure")

    assert said(found) == ["no failure: all values are finite, none 100 times larger"]
    assert np.isnan(found.array("credit")).all()


def test_values_that_grow_from_random_weights_are_no_failure(tmp_path: Path) -> None:
    states = steps_of(stack(6, 8, 3), 4)
    for step in (1, 2, 3):
        states[step]["0.weight"][5] *= 500
    worse = [dict(state) for state in states]
    worse[1]["0.weight"] = states[1]["0.weight"] * 1e6

    found = probed(tmp_path, stack(6, 8, 3), states, X, "failure")

    assert said(found)[0].startswith("no failure")
    again = probed(tmp_path, stack(6, 8, 3), worse, X, "failure")
    assert again.array("failed")[0] == 1
