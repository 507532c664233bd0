"""Runs as the viewer sees them: exact values, and what cannot be shown yet or ever."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import states
from torch import Tensor
from viewer_helpers import run_of, session_of, stopped, stored_value

import accweight_core as aw
from accweight_core.errors import StoreError
from accweight_core.pictures import tiling
from accweight_core.store.analysis_store import Store
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.plates import NONFINITE, Plate, Texels
from accweight_viewer.model.runs import ShownRun

ALL_ROLES = ("weight", "bias", "norm", "embedding")
EVERYTHING = slice(None)


def moved(shapes: Mapping[str, tuple[int, ...]], count: int = 3) -> list[dict[str, Tensor]]:
    """Return weights that take random steps, the later parameters the larger ones."""
    generator = torch.Generator().manual_seed(len(shapes))
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    series = [dict(state)]
    for _ in range(count - 1):
        for place, (name, shape) in enumerate(shapes.items(), start=1):
            state[name] = state[name] + place * torch.rand(shape, generator=generator)
        series.append(dict(state))
    return series


ODD = {
    "scale": (),
    "empty.weight": (0, 4),
    "vector.weight": (700,),
    "h.0.fc.weight": (30, 5),
    "h.0.fc.bias": (30,),
    "h.1.fc.weight": (150, 200),
    "h.1.fc.bias": (150,),
    "conv/\N{LATIN SMALL LETTER U WITH DIAERESIS} [x] %s.weight": (4, 3, 3, 3),
}
"""Shapes and names that are rarely met: none, one, and many numbers, and odd characters."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def net(folder: Path) -> Path:
    """Five steps of a layer of most kinds; every role is shown."""
    aw.analyze(run_of(folder / "net", states()), folder / "net.accw", roles=ALL_ROLES)
    return folder / "net.accw"


@pytest.fixture(scope="module")
def weights(folder: Path, net: Path) -> Path:
    """The same with the roles that count by default."""
    return _path(aw.analyze(aw.open_run(folder / "net"), folder / "weights.accw"))


@pytest.fixture(scope="module")
def odd(folder: Path) -> Path:
    """Two steps of odd shapes and names; every role is shown."""
    aw.analyze(run_of(folder / "odd", moved(ODD, 2)), folder / "odd.accw", roles=ALL_ROLES)
    return folder / "odd.accw"


@pytest.fixture(scope="module")
def coarse(folder: Path, odd: Path) -> Path:
    """The same with pictures that are coarser than the weights."""
    out = folder / "coarse.accw"
    run = aw.open_run(folder / "odd")
    return _path(aw.analyze(run, out, roles=ALL_ROLES, picture_budget_bytes=60_000))


@pytest.fixture(scope="module")
def bare(folder: Path, odd: Path) -> Path:
    """The same without pictures."""
    out = folder / "bare.accw"
    run = aw.open_run(folder / "odd")
    return _path(aw.analyze(run, out, roles=ALL_ROLES, picture_budget_bytes=0))


def _path(analysis: aw.Analysis) -> Path:
    assert analysis.path is not None
    return analysis.path


def picture(run: ShownRun, plate: Plate, level: int, plane: str = "mean") -> Texels:
    """Return a whole level over all steps."""
    return run.values(plate, level, plane, EVERYTHING, EVERYTHING, EVERYTHING)


def laid_out(plate: Plate, values: np.ndarray) -> np.ndarray:
    """Return the picture of the values of a parameter, NaN where no weight is."""
    picture = np.full(plate.size[0] * plate.size[1], np.nan)
    picture[tiling.whole(plate.layout, 0).first.places(0)] = values.reshape(-1)
    return picture.reshape(plate.size)


# --- layers and plates ------------------------------------------------------------------------


def test_layers_and_plates_are_numbered_in_network_order(net: Path) -> None:
    run = ShownRun(net)

    names = [layer.name for layer in run.layers]
    assert names == ["conv1", "bn1", "conv2", "fc1", "embed", "lstm", "fc2"]
    assert [layer.position for layer in run.layers] == list(range(7))
    assert [plate.number for plate in run.plates] == list(range(len(run.plates)))
    assert [plate.name for plate in run.plates] == [p.name for p in run.header.parameters]
    for plate in run.plates:
        assert run.header.parameters[plate.index].name == plate.name
        assert plate in run.layers[plate.layer].plates


def test_only_the_roles_that_count_are_shown(weights: Path) -> None:
    run = ShownRun(weights)

    assert len(run.header.parameters) > len(run.plates) == 7
    assert [plate.name for plate in run.plates if "bias" in plate.name or "bn" in plate.name] == []
    assert [run.header.parameters[p.index].name for p in run.plates] == [p.name for p in run.plates]


def test_a_run_is_called_like_its_folder(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.b.accw", "plain", ".accw"):
        shutil.copytree(net, tmp_path / name)
    monkeypatch.chdir(tmp_path / "a.b.accw")

    names = [ShownRun(tmp_path / name).name for name in ("a.b.accw", "plain", ".accw")]

    assert names == ["a.b", "plain", ".accw"]
    assert ShownRun(Path()).name == "a.b"


def test_shapes_are_told_in_words(odd: Path) -> None:
    shapes = {layer.name: layer.shape for layer in ShownRun(odd).layers}

    assert shapes["scale"] == "scalar"
    assert shapes["vector"] == "700"
    assert shapes["h.0.fc"] == "30x5 + 30"


def test_what_has_no_weights_is_not_shown(odd: Path) -> None:
    run = ShownRun(odd)

    assert "empty.weight" in [p.name for p in run.header.parameters]
    assert "empty.weight" not in [plate.name for plate in run.plates]
    assert len(run.plates) == len(ODD) - 1


def test_what_is_no_analysis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such analysis"):
        ShownRun(tmp_path / "nothing.accw")


def test_figures_of_the_training_are_there_by_step(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", moved({"a.weight": (2, 2)}), measures={"loss": [3, 2, 1]})
    aw.analyze(run, tmp_path / "run.accw")

    assert ShownRun(tmp_path / "run.accw").measures["loss"].tolist() == [3, 2, 1]


def test_the_checkpoint_of_a_step_is_the_last_one_up_to_it(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", moved({"a.weight": (2, 2)}), steps=[10, 20, 40])
    shown = ShownRun(_path(aw.analyze(run, tmp_path / "run.accw")))

    positions = [shown.position_at(step) for step in (0, 10, 19, 20, 39, 40, 99)]

    assert positions == [0, 0, 0, 1, 1, 2, 2]


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net", "odd"])
def test_every_texel_is_the_cumulative_change_of_its_weight(
    name: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(name)
    run, analysis = ShownRun(path), aw.open_analysis(path)

    for plate in run.plates:
        shown = picture(run, plate, 0)

        for at, step in enumerate(run.steps):
            exact = analysis.cumulative(plate.name, int(step)).astype(np.float32)
            np.testing.assert_array_equal(shown[at], laid_out(plate, exact), strict=False)


@pytest.mark.parametrize("name", ["net", "odd", "coarse", "bare"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_texels_times_their_unit_are_normalised_changes(
    name: str, scope: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(name)
    run, analysis = ShownRun(path), aw.open_analysis(path)

    for plate in run.plates:
        level = plate.finest
        texels = run.texels(plate, level, "max", EVERYTHING, EVERYTHING, EVERYTHING)
        shown = texels * run.unit(plate, scope)

        normalised = analysis.normalized(plate.name, scope=scope)
        assert texels.dtype == np.float32
        assert np.nanmax(texels[-1]) == pytest.approx(1.0, rel=1e-6)
        assert np.nanmax(shown[-1]) == pytest.approx(normalised.max(), rel=1e-6)
        if not level and plate.pictured:
            whole = laid_out(plate, normalised)
            np.testing.assert_allclose(shown[-1], whole, rtol=1e-6, atol=1e-9)


def test_the_largest_normalised_change_of_all_is_one(net: Path) -> None:
    run = ShownRun(net)

    reached = {
        scope: [run.unit(plate, scope) for plate in run.plates] for scope in ("global", "layer")
    }

    assert max(reached["global"]) == 1.0
    assert run.largest == run.analysis.maximum.value
    for layer in run.layers:
        assert max(reached["layer"][plate.number] for plate in layer.plates) == 1.0


def test_peaks_are_the_largest_changes_at_the_end(net: Path) -> None:
    run, analysis = ShownRun(net), aw.open_analysis(net)

    for plate in run.plates:
        assert plate.peak == analysis.cumulative(plate.name).max()


def test_a_window_of_some_steps_is_a_part_of_the_whole(net: Path) -> None:
    run = ShownRun(net)
    plate = next(plate for plate in run.plates if plate.name == "conv2.weight")
    window = slice(2, 4), slice(5, 11), slice(7, 20)

    part = run.values(plate, 0, "mean", *window)

    np.testing.assert_array_equal(part, picture(run, plate, 0)[window])


def test_single_values_are_exact_and_gaps_have_none(net: Path) -> None:
    run, analysis = ShownRun(net), aw.open_analysis(net)
    plate = next(plate for plate in run.plates if plate.name == "conv2.weight")
    exact = analysis.cumulative(plate.name, 3).astype(np.float32)

    values = {
        (row, col): stored_value(run, plate, 3, row, col)
        for row, col in itertools.product(range(plate.size[0]), range(plate.size[1]))
    }

    for (row, col), value in values.items():
        index = plate.layout.element(row, col)
        assert math.isnan(value) if index is None else value == exact[index]


# --- pictures that are coarser, or not there ----------------------------------------------------


def test_levels_are_means_and_maxima_of_squares_of_weights(odd: Path, coarse: Path) -> None:
    fine, run = ShownRun(odd), ShownRun(coarse)
    pooled = [plate for plate in run.plates if plate.finest > 0]

    for plate in pooled:
        whole = picture(fine, fine.plates[plate.number], 0)[-1]
        for level in range(plate.finest, plate.coarsest + 1):
            rows, cols = plate.plan.size(level)
            side = 1 << level
            padded = np.full((rows * side, cols * side), np.nan)
            padded[: whole.shape[0], : whole.shape[1]] = whole
            squares = padded.reshape(rows, side, cols, side)

            mean, largest = (picture(run, plate, level, plane)[-1] for plane in ("mean", "max"))

            np.testing.assert_allclose(mean, np.nanmean(squares, axis=(1, 3)), rtol=1e-5)
            np.testing.assert_array_equal(largest, np.nanmax(squares, axis=(1, 3)))
    assert len(pooled) >= 1


def test_a_value_of_a_coarse_picture_is_the_mean_around_it(coarse: Path) -> None:
    run = ShownRun(coarse)
    plate = max(run.plates, key=lambda plate: plate.finest)
    row, col = plate.size[0] - 1, plate.size[1] // 2

    value = stored_value(run, plate, 1, row, col)

    level = plate.finest
    assert level > 0
    assert value == picture(run, plate, level)[1, row >> level, col >> level]


def test_without_pictures_every_parameter_is_one_texel_its_mean(odd: Path, bare: Path) -> None:
    run, analysis = ShownRun(bare), aw.open_analysis(odd)

    for plate in run.plates:
        assert (plate.pictured, plate.ready) == (False, True)
        assert (plate.finest, plate.coarsest) == (0, 0)
        for plane, measure in (("mean", np.mean), ("max", np.max)):
            values = picture(run, plate, 0, plane)

            exact = measure(analysis.cumulative(plate.name))
            assert values.shape == (2, 1, 1)
            assert values.dtype == np.float32
            assert values[:, 0, 0].tolist() == [0, pytest.approx(exact, rel=1e-6)]
        assert stored_value(run, plate, 1, 0, 0) == picture(run, plate, 0)[1, 0, 0]


def test_numbers_saved_from_a_training_loop_are_shown_alike(tmp_path: Path, bare: Path) -> None:
    tracker = aw.ChangeTracker()
    for step, state in enumerate(moved({**ODD, "line\nbreak.weight": (2, 2)})):
        tracker.update(state, step=step)
    tracker.analysis().save(tmp_path / "tracked.accw")

    session = session_of(tmp_path / "tracked.accw")

    run = session.runs[0]
    assert "line\nbreak" in session.layer_names
    assert not any(plate.pictured for plate in run.plates)
    assert all(plate.ready and plate.peak > 0 for plate in run.plates)
    assert all(math.isfinite(row.values[0]) for row in session.rows())


def test_plates_without_a_picture_keep_the_shape_of_one(odd: Path, bare: Path) -> None:
    sizes = [[plate.size for plate in ShownRun(path).plates] for path in (odd, bare)]

    assert sizes[0] == sizes[1]


# --- nothing moved, nothing known ---------------------------------------------------------------


def test_a_metric_that_the_analysis_has_no_sums_for_is_not_known(odd: Path) -> None:
    run = ShownRun(odd)
    for row in run.measured:
        del row.metrics["std"]

    assert np.isnan(run.metric("std")).all()
    assert run.metric("std").shape == run.metric("mean").shape
    assert np.isfinite(run.metric("mean")).all()


def test_what_never_moved_is_dark_and_no_error(tmp_path: Path) -> None:
    state = {"conv.weight": torch.ones(2, 2, 3, 3), "fc.weight": torch.ones(3, 3)}
    aw.analyze(run_of(tmp_path / "run", [state, state]), tmp_path / "run.accw")

    session = session_of(tmp_path / "run.accw")
    run = session.runs[0]

    assert (run.largest, run.layer_largest.tolist()) == (0.0, [0.0, 0.0])
    assert session.fitted_high == 1.0
    for plate in run.plates:
        texels = run.texels(plate, 0, "mean", EVERYTHING, EVERYTHING, EVERYTHING)
        assert texels.dtype == np.float32
        assert np.nanmax(texels) == 0
        assert np.isnan(texels).sum() == 2 * (math.prod(plate.size) - plate.parameter.elements)
        assert [run.unit(plate, scope) for scope in ("global", "layer")] == [0.0, 0.0]


def test_a_layer_that_never_moved_beside_one_that_did_is_dark(tmp_path: Path) -> None:
    series = [{"a.weight": torch.ones(3, 3), "b.weight": torch.full((3, 3), x)} for x in (0.0, 2.0)]
    aw.analyze(run_of(tmp_path / "run", series), tmp_path / "run.accw")

    run = ShownRun(tmp_path / "run.accw")

    assert [run.unit(plate, "global") for plate in run.plates] == [0.0, 1.0]
    assert [run.unit(plate, "layer") for plate in run.plates] == [0.0, 1.0]


def test_weights_that_are_not_numbers_leave_the_others_alone(tmp_path: Path) -> None:
    series = moved({"a.weight": (4, 4), "b.weight": (2, 2)})
    series[1]["a.weight"][0, 0] = math.nan
    series[2]["b.weight"][:] = math.inf
    aw.analyze(run_of(tmp_path / "run", series), tmp_path / "run.accw")

    run = ShownRun(tmp_path / "run.accw")

    assert all(math.isfinite(plate.peak) for plate in run.plates)
    assert math.isfinite(run.largest)
    first, second = (picture(run, plate, 0) for plate in run.plates)
    assert np.isfinite(first).all(), "which of its weights it is, the checkpoints tell"
    assert np.isfinite(second[:2]).all()
    assert (second[2] == NONFINITE).all()


@pytest.fixture(scope="module")
def half(folder: Path, net: Path) -> Path:
    """Unfinished: all up to the first of the two matrices of the LSTM is there."""
    return stopped(aw.open_run(folder / "net"), folder / "half.accw", after=10)


def test_a_plate_is_ready_as_soon_as_its_own_parameter_is(half: Path) -> None:
    run = ShownRun(half)

    ready = {plate.name: plate.ready for plate in run.plates}

    assert not run.complete
    assert [name for name, known in ready.items() if not known] == [
        "lstm.weight_hh_l0",
        "fc2.weight",
    ]
    assert all((plate.peak > 0) == plate.ready for plate in run.plates)


def test_numbers_of_a_layer_are_there_when_all_of_it_is(half: Path) -> None:
    run = ShownRun(half)

    known = np.isfinite(run.metric("mean")).all(axis=1)

    assert [layer.name for layer in run.layers] == ["conv1", "conv2", "fc1", "embed", "lstm", "fc2"]
    assert known.tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_ready_plates_of_an_unfinished_layer_do_not_look_as_if_they_never_moved(
    half: Path, scope: str
) -> None:
    run = ShownRun(half)

    units = {plate.name: run.unit(plate, scope) for plate in run.plates}

    assert 0 < units["lstm.weight_ih_l0"] <= 1
    assert units["lstm.weight_hh_l0"] == units["fc2.weight"] == 0
    assert max(units.values()) == 1


def test_the_bright_end_is_fitted_to_the_layers_that_are_finished(half: Path) -> None:
    session = session_of(half)
    run = session.runs[0]

    reach = run.metric("mean")[:4, -1] + 3 * run.metric("std")[:4, -1]
    assert session.fitted_high == pytest.approx(np.median(reach / run.layer_largest[:4]), abs=0.006)


def test_finished_pictures_of_an_unfinished_analysis_are_complete(
    half: Path, weights: Path
) -> None:
    run, whole = ShownRun(half), ShownRun(weights)

    for plate in run.plates:
        if plate.ready:
            own = picture(run, plate, 0)
            np.testing.assert_array_equal(own, picture(whole, whole.plates[plate.number], 0))


def test_a_picture_is_not_taken_from_the_analysis_that_replaces_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {"a.weight": (6, 6), "b.weight": (6, 6)}
    path = _path(aw.analyze(run_of(tmp_path / "slow", moved(shapes)), tmp_path / "run.accw"))
    fast = [{name: 8 * weight for name, weight in state.items()} for state in moved(shapes)]
    faster = run_of(tmp_path / "fast", fast)
    run = ShownRun(path)
    plate, picture_array = run.plates[0], Store.picture_array
    before = picture(run, plate, 0)

    def replaced_meanwhile(*arguments: Any) -> Any:
        array = picture_array(*arguments)
        aw.analyze(faster, path, overwrite=True)
        return array

    with monkeypatch.context() as patch:
        patch.setitem(run.__dict__, "_array", partial(replaced_meanwhile, run._store))
        with pytest.raises(StoreError, match="replaced by another analysis"):
            picture(run, plate, 0)

    later = run.refreshed()
    assert later is not None
    np.testing.assert_array_equal(picture(later, later.plates[0], 0), 8 * before)


def test_an_analysis_that_has_just_begun_is_shown_without_numbers(
    folder: Path, net: Path, tmp_path: Path
) -> None:
    out = stopped(aw.open_run(folder / "net"), tmp_path / "begun.accw", after=0)

    session = session_of(out)

    run = session.runs[0]
    assert len(run.plates) == 7
    assert not any(plate.ready for plate in run.plates)
    assert (run.largest, session.fitted_high) == (0.0, 1.0)
    assert run.layer_largest.tolist() == [0.0] * 6
    assert all(math.isnan(value) for row in session.rows() for value in row.values)
    assert {run.unit(plate, "layer") for plate in run.plates} == {0.0}


# --- differences --------------------------------------------------------------------------------


def analysed(
    folder: Path,
    name: str,
    series: Sequence[Mapping[str, Tensor]],
    steps: Sequence[int] | None = None,
    **options: Any,
) -> ShownRun:
    run = run_of(folder / name, series, steps=steps)
    return ShownRun(_path(aw.analyze(run, folder / f"{name}.accw", roles=ALL_ROLES, **options)))


PAIR = {"conv.weight": (4, 3, 3, 3), "fc.weight": (6, 9), "v.scale": (80,)}


@pytest.fixture(scope="module")
def first(folder: Path) -> ShownRun:
    return analysed(folder, "first", moved(PAIR, 4), steps=[0, 10, 20, 30])


@pytest.fixture(scope="module")
def second(folder: Path) -> ShownRun:
    shapes = dict(reversed(PAIR.items()))
    return analysed(folder, "second", moved(shapes, 3), steps=[5, 20, 90])


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_difference_is_one_normalised_change_less_the_other(
    first: ShownRun, second: ShownRun, scope: str
) -> None:
    difference = Difference(first, second, scope, "own")
    partners = [0, 0, 1, 1]  # the last step of the second run up to 0, 10, 20, 30

    for plate in difference.plates:
        shown = difference.texels(plate, 0, "mean", EVERYTHING, EVERYTHING, EVERYTHING)

        assert difference.unit(plate, scope) == plate.peak == 1.0
        for at, step in enumerate(first.steps):
            own = first.analysis.normalized(plate.name, int(step), scope)
            other_step = int(second.steps[partners[at]])
            other = second.analysis.normalized(plate.name, other_step, scope)
            np.testing.assert_allclose(shown[at], laid_out(plate, own - other), atol=2e-6)


def test_a_difference_is_called_like_both_and_has_the_steps_of_the_first(
    first: ShownRun, second: ShownRun
) -> None:
    difference = Difference(first, second, "layer", "own")

    assert difference.name == "first - second"
    assert difference.signed
    assert difference.steps.tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("window", [(0, 4), (1, 3), (2, 2), (3, 9), (0, 1)])
def test_some_steps_of_a_difference_are_a_part_of_all(
    first: ShownRun, second: ShownRun, window: tuple[int, int]
) -> None:
    difference = Difference(first, second, "layer", "own")
    plate = difference.plates[0]
    steps, rows, cols = slice(*window), slice(3, 8), slice(2, 11)

    part = difference.texels(plate, 0, "mean", steps, rows, cols)

    whole = difference.texels(plate, 0, "mean", EVERYTHING, EVERYTHING, EVERYTHING)
    np.testing.assert_array_equal(part, whole[steps, rows, cols])


def test_a_run_does_not_differ_from_itself(first: ShownRun) -> None:
    difference = Difference(first, first, "layer", "own")

    for plate in difference.plates:
        shown = difference.texels(plate, 0, "mean", EVERYTHING, EVERYTHING, EVERYTHING)
        assert plate.ready
        assert np.nanmax(np.abs(shown)) == 0


def test_what_only_one_run_has_in_that_shape_has_no_difference(
    first: ShownRun, tmp_path: Path
) -> None:
    other = analysed(tmp_path, "other", moved({"fc.weight": (9, 6), "v.scale": (80,)}))

    ready = {plate.name: plate.ready for plate in Difference(first, other, "layer").plates}

    assert ready == {"conv.weight": False, "fc.weight": False, "v.scale": True}


def test_what_is_not_finished_or_not_pictured_has_no_difference(
    folder: Path, first: ShownRun, tmp_path: Path
) -> None:
    run = aw.open_run(folder / "first")
    begun = ShownRun(stopped(run, tmp_path / "begun.accw", after=1))
    bare = ShownRun(
        _path(aw.analyze(run, tmp_path / "bare.accw", roles=ALL_ROLES, picture_budget_bytes=0))
    )

    ready = [
        [plate.ready for plate in Difference(one, two, "layer").plates]
        for one, two in ((first, begun), (begun, first), (first, bare), (bare, first))
    ]

    assert ready == [[True, False, False], [True, False], [False] * 3, [False] * 3]


LARGE = {"a.weight": (150, 200), "b.weight": (150, 200)}


@pytest.fixture(scope="module")
def large(folder: Path) -> ShownRun:
    return analysed(folder, "large", moved(LARGE))


def test_runs_of_other_detail_differ_at_the_levels_that_both_have(
    folder: Path, large: ShownRun
) -> None:
    other = analysed(folder, "larger", moved(LARGE, 4), picture_budget_bytes=200_000)
    difference = Difference(large, other, "layer", "own")

    for plate in difference.plates:
        own, partner = large.plates[plate.number], other.plates[plate.number]
        assert (own.finest, plate.finest) == (0, partner.finest)
        assert partner.finest > 0
        for level in range(plate.finest, plate.coarsest + 1):
            shown = difference.texels(plate, level, "max", EVERYTHING, EVERYTHING, EVERYTHING)

            ours, theirs = picture(large, own, level, "max"), picture(other, partner, level, "max")
            expected = ours / own.peak - theirs[:3] / partner.peak
            np.testing.assert_allclose(shown, expected, atol=2e-6)


def test_runs_without_a_common_level_have_no_difference(folder: Path, large: ShownRun) -> None:
    blurred = analysed(folder, "blurred", moved(LARGE), picture_budget_bytes=200)
    difference = Difference(large, blurred, "layer", "own")

    assert large.plates[0].coarsest < blurred.plates[0].finest
    assert [plate.ready for plate in difference.plates] == [False, False]
