"""What can be seen of movement: on any page, at any resolution, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from viewer_helpers import session_of, stored
from window_driver import OpenWindow, colour_at, go_to, picture, plate_called, rgb

from accweight_core.colours.scale import colour_table, dark_end
from accweight_core.colours.themes import DARK, LIGHT, Theme
from accweight_viewer.panes.texel_text import plate_description


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of an embedding of which 12 of 600 rows move, and of a matrix that all moves."""
    generator = torch.Generator().manual_seed(0)
    state = {"embed.weight": torch.zeros(600, 200), "fc.weight": torch.zeros(600, 200)}
    series = [dict(state)]
    for _ in range(2):
        rows = torch.zeros(600, 1)
        rows[::50] = 1
        for name, moving in (("embed.weight", rows), ("fc.weight", torch.ones(600, 1))):
            state[name] = state[name] + moving * torch.rand(600, 200, generator=generator)
        series.append(dict(state))
    return stored(tmp_path_factory.mktemp("sparse"), "run", series)


def test_sparse_movement_is_pooled_by_its_maximum_and_that_is_said(sparse: Path) -> None:
    run = session_of(sparse).runs[0]
    embed, fc = run.plates

    planes = [run.plane_of(plate, "auto") for plate in (embed, fc)]

    everything = slice(None)
    level = embed.coarsest
    auto, mean, largest = (
        run.values(embed, level, plane, slice(2, 3), everything, everything)
        for plane in ("auto", "mean", "max")
    )
    assert planes == ["max", "mean"]
    np.testing.assert_array_equal(auto, largest)
    assert auto[mean > 0].mean() > 5 * mean[mean > 0].mean()
    told = plate_description(run, embed, level, planes[0], "step 2")
    assert "each texel the max of" in told.detail


def test_every_weight_is_shown_itself_whatever_pools_others(sparse: Path) -> None:
    run = session_of(sparse).runs[0]
    place = run.plates[0], 0
    window = slice(2, 3), slice(0, 64), slice(0, 64)

    if run.plates[0].finest == 0:
        np.testing.assert_array_equal(
            run.values(*place, "max", *window), run.values(*place, "mean", *window)
        )


@pytest.mark.gl
@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
def test_neither_end_of_a_map_is_lost_between_the_weights(theme: Theme) -> None:
    mat = np.array(rgb(theme.mat), float)

    for name in ("grey", "viridis", "magma"):
        ends = colour_table(name)[[0, -1]].astype(float)
        apart = np.abs(ends - mat).max(axis=1)
        assert apart.min() > 20, name


@pytest.mark.gl
def test_a_plate_in_the_light_lies_on_a_mat(opened: OpenWindow, tmp_path: Path) -> None:
    window = opened(stored(tmp_path, "net"), chosen={"theme": "light", "labels": False})
    go_to(window, "conv2")
    scene, plate = window.scenes[0], plate_called(window, "conv2.weight")
    corner, size = scene.places.corners[plate.number], scene.places.sizes[plate.number]
    rows, cols = plate.size
    beside = np.array([size[0] * 3.5 / cols, -size[1] * 0.5 / rows, 0])  # the first kernel

    at = scene.flight.camera.project((corner + beside)[None], scene.width(), scene.height())[0]

    assert plate.layout.element(0, 3) is None
    assert colour_at(picture(scene), at[0], at[1]) == rgb(LIGHT.mat)


def test_a_logarithmic_scale_begins_where_changes_do(sparse: Path) -> None:
    session = session_of(sparse, logarithmic=True)
    run = session.runs[0]
    fc = run.plates[1]

    values = run.values(fc, fc.finest, "mean", slice(2, 3), slice(None), slice(None))[0]
    shares = session.colour_scale().positions(values / run.scale(fc, "layer"))

    assert session.low > 1e-3
    assert 0.3 < np.median(shares) < 0.9, "neither all dark nor all bright"
    assert np.percentile(shares, 10) < 0.6
    session.change(fitted=False)
    assert session.low == 0.0, "an end set by hand is what it says"


def test_the_dark_end_of_layers_that_did_not_move_is_none() -> None:
    still = np.zeros(2)

    assert dark_end(still, still, still, np.median) == 0.0
