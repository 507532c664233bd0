"""The probe `unit_series`: of thousands of curves some are kept, the outliers among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from probe_networks import probed, said, stack, steps_of

from accweight_core.probes.unit_series import deviations, thinned


def test_outliers_stay_among_the_few_that_are_kept(tmp_path: Path) -> None:
    module, chance = stack(6, 400, 300, 3), torch.Generator().manual_seed(0)
    states = steps_of(module, 6)
    for step in range(1, 6):
        for name in ("0.weight", "2.weight", "4.weight"):
            last = states[step - 1][name]
            states[step][name] = last * (1 + 0.1 * torch.rand(last.shape, generator=chance))
    states[4]["2.weight"][123] *= 50
    states[5]["2.weight"][123] *= 50

    found = probed(tmp_path, module, states, None, "unit_series:keep=10,of=norm")

    assert found.attributes["filters"] == 703
    names = found.labels("unit")
    assert len(set(names)) == 10
    place = names.index("2/123")
    norms = [float(state["2.weight"][123].double().norm()) for state in states]
    np.testing.assert_allclose(found.array("series")[:, place], norms, rtol=1e-6)
    assert "2/123 (most at step" in said(found)[0]
    layers = ("0.weight", "2.weight", "4.weight")
    everything = [torch.cat([s[n].double().norm(dim=1) for n in layers]) for s in states]
    medians = [float(torch.quantile(one, 0.5)) for one in everything]
    np.testing.assert_allclose(found.array("median"), medians, rtol=1e-6)


def test_what_is_not_finite_is_infinitely_far_and_kept_first() -> None:
    series = 1 + 0.01 * np.random.default_rng(0).standard_normal((3, 50))
    series[2, 7], series[1, 9] = np.nan, 5

    away = deviations(series)

    assert np.argwhere(np.isinf(away)).tolist() == [[2, 7]]
    assert thinned(series, away.max(axis=0), 6)[:2].tolist() == [7, 9]


def test_curves_are_kept_that_cover_the_rest() -> None:
    groups = np.repeat([0.0, 1.0, 2.0, 3.0], 50)
    series = groups + 0.01 * np.random.default_rng(0).standard_normal((5, 200))

    kept = thinned(series, np.ones(200), 4)

    assert sorted(groups[kept]) == [0, 1, 2, 3]


def test_there_may_be_fewer_curves_than_are_wanted(tmp_path: Path) -> None:
    found = probed(tmp_path, stack(6, 4), steps_of(stack(6, 4), 2), None, "unit_series")

    assert len(found.labels("unit")) == 4
    assert said(found) == ["4 of 4 curves; none leaves the others"]
