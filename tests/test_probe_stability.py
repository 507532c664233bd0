"""The probe `stability`: a frozen layer rests since then, useless filters are listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import probed, said, stack, steps_of, write_states

import accweight_core as aw


def test_a_layer_that_is_frozen_is_stable_since_then_and_useless_filters_are_listed(
    tmp_path: Path,
) -> None:
    module, chance = stack(6, 8, 8, 3), torch.Generator().manual_seed(1)
    states = steps_of(module, 7)
    for step in range(1, 7):
        for name in ("0.weight", "2.weight", "4.weight"):
            if name != "2.weight" or step <= 3:  # which is frozen from step 3 on
                last = states[step - 1][name]
                states[step][name] = last + 0.1 * torch.randn(last.shape, generator=chance)
            else:
                states[step][name] = states[3][name].clone()
    states[6]["0.weight"][5] = 0
    states[6]["4.weight"][2] = -3 * states[6]["4.weight"][0]

    found = probed(tmp_path, module, states, None, "stability")

    assert found.labels("layer") == ("0", "2", "4")
    distance = found.array("distance")
    assert np.isnan(distance[0]).all()
    assert (distance[1:4] > 0.05).all()
    assert (distance[4:, 1] == 0).all()
    np.testing.assert_array_equal(found.array("since"), [np.nan, 3, np.nan])
    assert found.array("degenerate")[:, 0].tolist() == [0] * 6 + [1]
    assert found.array("duplicate")[:, 2].tolist() == [0] * 6 + [2]
    assert found.array("settled")[3, 1] == 1
    ends = torch.nn.functional.cosine_similarity(states[2]["0.weight"], states[6]["0.weight"])
    assert found.array("settled")[2, 0] == pytest.approx(
        float((ends[states[6]["0.weight"].any(dim=1)] >= 0.9).float().mean())
    )
    assert (found.array("settled")[6] == 1).all(), "a filter of zeros is left out"
    assert said(found) == [
        "stable since step: 2 3",
        "not stable at step 6: 0, 4",
        "filters almost 0: 0/5",
        "filters pointing where another one does: 4/0, 4/2",
    ]


def test_speed_is_the_change_per_step(tmp_path: Path) -> None:
    states = steps_of(stack(6, 4), 2)
    states[1]["0.weight"] = 1.5 * states[0]["0.weight"]

    folder = write_states(tmp_path / "run", states)
    (folder / "epoch_1.pt").rename(folder / "epoch_5.pt")

    results = aw.probe(aw.open_run(folder), probes="stability", out=tmp_path / "run.accw")

    found = results["stability"]
    np.testing.assert_allclose(found.array("distance")[1], 0.5, rtol=1e-6)
    np.testing.assert_allclose(found.array("speed")[1], 0.1, rtol=1e-6)
