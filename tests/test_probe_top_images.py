"""The probe `top_images`: the picture that holds the template ranks first, at the right place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import Classifier, probed, said, steps_of

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.tiles import tiles

CROSS = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)


def test_the_picture_that_holds_the_template_ranks_first(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 0.3, (40, 1, 8, 8)).astype(np.float32)
    y = np.arange(40) % 3
    x[17, 0, 1:4, 4:7] = CROSS
    states = steps_of(Classifier(), 2)
    states[0]["conv.weight"][2, 0] = -1
    states[1]["conv.weight"][2, 0] = torch.from_numpy(CROSS - 0.5)
    states[1]["conv.weight"][3] = 0

    found = probed(tmp_path, Classifier(), states, (x, y), "top_images:layer=conv,count=4")

    assert found.array("rows", 1)[2, 0] == 17
    assert found.array("rows", 0)[2, 0] != 17
    values = torch.conv2d(torch.from_numpy(x), states[1]["conv.weight"]) + states[1][
        "conv.bias"
    ].view(4, 1, 1)
    best = values.amax(dim=(2, 3))[:, 2].sort(descending=True)
    np.testing.assert_array_equal(found.array("rows", 1)[2], best.indices[:4])
    np.testing.assert_allclose(found.array("values", 1)[2], best.values[:4], rtol=1e-5)
    tile = found.array("images", 1)[2][:8, :8].astype(int)
    reddish = (tile[..., 0] - tile[..., 2]) > 60  # orange: raises the unit
    np.testing.assert_array_equal(reddish[1:4, 4:7], CROSS > 0)
    assert reddish.sum() == 5
    assert found.array("kept", 1).tolist() == [1, 1, 1, 1]


def test_a_unit_that_answers_to_one_class_is_named(tmp_path: Path) -> None:
    y = np.arange(60) % 3
    x = np.random.default_rng(0).uniform(0, 0.1, (60, 1, 8, 8)).astype(np.float32)
    x[y == 1, 0, 2:4] = 1
    states = steps_of(Classifier(), 2)
    states[1]["conv.weight"][0] = 1

    found = probed(tmp_path, Classifier(), states, (x, y), "top_images:layer=conv,units=1")

    assert found.array("same_class")[1].tolist() == [1]
    assert said(found) == ["top 9 samples of units of conv; of one class, unit: class: 0: 1 (100%)"]


def test_samples_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 2))
    tokens = np.zeros((20, 6), np.int64)

    with pytest.raises(ArgumentValueError, match="whole numbers, which have no gradient"):
        probed(tmp_path, module, steps_of(module, 2), tokens, "top_images")


def test_what_a_unit_does_not_depend_on_is_dark() -> None:
    x, gradient = np.ones((1, 1, 4, 4), np.float32), np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, 0], gradient[0, 0, :2], gradient[0, 0, 1] = 0, -1, 1

    (drawn,) = tiles(x, gradient)

    red, blue = (drawn[..., channel].astype(int) for channel in (0, 2))
    assert (red[2:] < red[0, 1:].min()).all(), "without a gradient darker than with one"
    assert (red[1] > blue[1] + 100).all(), "orange where it raises the unit"
    assert (red[0] == blue[0]).all(), "and not where it lowers it"
