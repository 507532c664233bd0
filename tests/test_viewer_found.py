"""What probes found, in the viewer's model: metrics, measures, values of units, sheets, points."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from probe_networks import Plain, write_states
from probe_results import HOSTILE, LAYERS, POINTS, field, store_numbers, stored_results
from torch import nn
from viewer_helpers import session_of, stored

import accweight_core as aw
from accweight_core.cli.app import application
from accweight_core.errors import UnknownNameError
from accweight_core.store.probe_store import ProbeDocument, ProbeStore
from accweight_viewer.model.chart import Chart
from accweight_viewer.model.given_samples import GivenSamples
from accweight_viewer.model.scatter import Scatter, inside
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import Settings
from accweight_viewer.model.sheet import GAP, Sheet, grid_for, rated
from accweight_viewer.model.unit_values import UnitValues

DEAD = "everything.sparsity"


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with results of every kind; see `probe_results`."""
    return stored_results(tmp_path_factory.mktemp("found") / "run.accw")


@pytest.fixture
def session(analysed: Path) -> Session:
    """Return a session on it, at the last step."""
    return session_of(analysed)


# ---------------------------------------------------------------- numbers


def test_numbers_of_layers_rank_them(analysed: Path) -> None:
    frame = aw.open_analysis(analysed).ranking(DEAD, 10)

    assert frame["layer"].tolist()[0] == HOSTILE
    assert frame[DEAD].tolist()[:2] == pytest.approx([0.6, 0.2])
    answer = CliRunner().invoke(application(), ["rank", str(analysed), "--by", DEAD, "--at", "0"])
    assert answer.exit_code == 0, answer.output
    assert "what sparsity is" in answer.stdout
    assert "\x1b" not in answer.stdout


def test_a_number_that_no_probe_found_says_which_there_are(analysed: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'everything.sparsity'\? probes have"):
        aw.open_analysis(analysed).ranking("everything.lost")


def test_numbers_of_layers_are_metrics_of_table_and_curves(session: Session) -> None:
    session.change(columns=(DEAD,), curve_metric=DEAD)

    values = {row.layer: row.values[0] for row in session.rows()}
    assert values[LAYERS[0]] == pytest.approx(0.3)
    assert np.isnan(values[LAYERS[2]])
    assert session.probes.metric_words[DEAD] == "what sparsity is"
    np.testing.assert_allclose(session.curves()[1], [0.5, 0.6, 0.7])
    assert Chart(session).scale.high > 0.7


def test_what_curves_and_plates_show_of_a_probe_is_not_kept_for_other_runs() -> None:
    settings = Settings(curve_metric=DEAD, plate_values="everything.values", speed=7.0)

    again = Settings.from_json(settings.to_json())

    assert (again.curve_metric, again.plate_values, again.speed) == ("mean", "movement", 7.0)


def test_columns_of_probes_are_kept_and_shown_where_there_are_any(
    session: Session, tmp_path: Path
) -> None:
    kept = Settings.from_json(Settings(columns=(DEAD, "max")).to_json())
    session.settings = kept
    other = session_of(stored(tmp_path, "other"), columns=kept.columns)

    assert (session.columns, other.columns) == ([DEAD, "max"], ["max"])
    other.change(columns=(DEAD,))
    assert other.columns == ["relative"], "a table without numbers has nothing to sort by"


def test_numbers_of_the_network_are_measures_of_the_time_line(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    store_numbers(path, "margin", {0: 3.0, 40: 1.0})

    measures = session_of(path).runs[0].measures

    # those of "everything" say what its pictures are worth, and stand beside these
    assert list(measures) == ["margin.loss"]
    np.testing.assert_array_equal(measures["margin.loss"], [3.0, np.nan, 1.0])


def test_a_damaged_result_costs_itself_alone(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    store_numbers(path, "margin", {0: 3.0})
    (group,) = (path / "probes").glob("everything-*/zarr.json")
    group.write_text("{")

    session = session_of(path)

    assert list(session.runs[0].results) == ["margin"]
    assert not Sheet(session).choices


# ---------------------------------------------------------------- values of units


def test_plates_take_the_values_of_their_units(session: Session) -> None:
    session.change(plate_values="everything.values")
    (source,) = session.sources
    assert isinstance(source, UnitValues)

    plate = source.plates[1]  # (5, 4): a row per unit; units have 1 to 1.4, times 1, 2, 3
    texels = source.texels(plate, 0, "mean", slice(0, 3), slice(None), slice(None))

    assert plate.ready
    share = texels * source.unit(plate, "layer")
    np.testing.assert_allclose(share[0, :, 0], np.array([1, 1.1, 1.2, 1.3, 1.4]) / 4.2, rtol=1e-6)
    np.testing.assert_allclose(share[2, :, 3], np.array([1, 1.1, 1.2, 1.3, 1.4]) / 1.4, rtol=1e-6)
    assert source.unit(plate, "global") == pytest.approx(4.2 / 7.2)


def test_a_plate_of_other_units_is_blank(session: Session) -> None:
    session.change(plate_values="everything.values")

    first = session.sources[0].plates[0]  # five rows, of which the probe knows three units

    assert not first.ready


def test_rows_of_all_gates_have_the_values_of_their_units(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.LSTM(3, 4, bidirectional=True)
    states = [{n: v * (1 + k) for n, v in module.state_dict().items()} for k in range(2)]
    run = aw.open_run({k: {f"lstm.{n}": v for n, v in own.items()} for k, own in enumerate(states)})
    path = tmp_path / "run.accw"
    aw.analyze(run, path, roles=["weight", "bias"])
    shape = (0, 1, 8)
    document = ProbeDocument("own", 1, {}, (0, 1), (field("values", "step layer unit", shape),),
                             labels={"layer": ("lstm",)})  # fmt: skip
    store = ProbeStore.begun(path, "0123456789ab", document)
    for step in (0, 1):
        store.write_step(step, {"values": 1.0 + np.arange(8.0)[None]})
    session = session_of(path)
    session.change(plate_values="own.values")

    found = {plate.name: plate for plate in session.sources[0].plates}

    assert all(plate.ready for plate in found.values())
    for name, first in (("lstm.weight_hh_l0", 1), ("lstm.weight_ih_l0_reverse", 5)):
        texels = session.sources[0].texels(
            found[name], 0, "mean", slice(0, 1), slice(None), slice(None)
        )
        known = texels[0][np.isfinite(texels[0])]
        np.testing.assert_allclose(np.unique(known), np.arange(first, first + 4) / 8, rtol=1e-6)
        assert len(known) == found[name].parameter.elements


def test_values_that_are_not_stored_leave_the_movement(session: Session) -> None:
    session.change(plate_values="other.values")

    assert session.sources == list(session.runs)


# ---------------------------------------------------------------- pictures


def test_a_sheet_shows_the_pictures_of_the_last_step_that_was_probed(session: Session) -> None:
    sheet = Sheet(session)
    sheet.over = False
    session.move_to_step(10)

    pictures = sheet.pictures()

    assert [one.title for one in sheet.choices] == [f"everything of {HOSTILE}"]
    shares = [abs(100 + number - 128) / 127 for number in range(POINTS)]
    assert pictures[:, 0, 0, 3].tolist() == [round(255 * share) for share in shares]
    assert sheet.step == 10
    assert sheet.can_be_over


def test_results_of_one_probe_are_called_by_their_options_and_order(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    shape = (0, 2, 4, 4, 1)
    for digest, scale in (("c" * 12, "fixed"), ("a" * 12, "step"), ("b" * 12, "step")):
        fields = (field("images", "step picture height width channel", shape, "uint8"),)
        document = ProbeDocument("filters", 1, {"scale": scale}, (0,), fields)
        ProbeStore.begun(path, digest, document).write_step(0, {"images": np.zeros((2, 4, 4, 1))})

    titles = {one.title for one in Sheet(session_of(path)).choices}

    told = {"filters:scale=fixed", "filters:scale=step#1", "filters:scale=step#2"}
    assert titles == {f"everything of {HOSTILE}", *told}


def test_a_metric_may_be_chosen_with_fewer_options_of_its_probe(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    for digest, of in (("c" * 12, "loss"), ("a" * 12, "output")):
        options = {"of": of, "points": 1 if of == "loss" else 2}
        fields = (field("share", "step layer", (0, 3)),)
        document = ProbeDocument("own", 1, options, (0,), fields, labels={"layer": ("a", "b", "c")})
        ProbeStore.begun(path, digest, document).write_step(0, {"share": np.zeros(3)})
    probes = session_of(path).probes

    assert probes.known("own:of=output.share") == "own:of=output,points=2.share"
    assert probes.known("relative") == "relative"
    with pytest.raises(UnknownNameError, match="may be of 2 results"):
        probes.known("own.share")


def test_losses_on_other_samples_are_told_apart_by_order(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    for digest in ("c" * 12, "a" * 12):
        document = ProbeDocument("evaluate", 1, {}, (0,), (field("loss", "step", (0,)),))
        ProbeStore.begun(path, digest, document).write_step(0, {"loss": np.float64(1)})

    measures = session_of(path).runs[0].measures

    assert {name for name in measures if name.startswith("evaluate")} == {
        "evaluate#1.loss",
        "evaluate#2.loss",
    }


def test_ratings_are_shown_over_their_inputs() -> None:
    ratings = np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1)
    inputs = np.full((1, 1, 3, 1), 200, np.uint8)

    below, none, above = rated(ratings, inputs)[0, 0].tolist()

    assert none == [110, 110, 110]  # the input, darker
    assert above[0] > above[2]  # orange
    assert below[2] > below[0]  # blue


def test_pictures_are_as_large_as_all_of_them_fit() -> None:
    grid = grid_for(12, 28, 28, 400, 200)

    assert grid.shown == 12
    assert grid.columns * (grid.width + GAP) - GAP <= 400
    assert grid.rows * (grid.height + GAP) - GAP <= 200
    assert grid.number_at(grid.width + GAP + 1, 1) == 1
    assert grid.number_at(grid.width + 1, 1) is None  # between two
    assert grid_for(10_000, 28, 28, 400, 200).shown < 10_000


# ---------------------------------------------------------------- points


def moved_to(scatter: Scatter, step: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    scatter.session.move_to_step(step)
    while scatter.advance(1.0):
        pass
    return scatter.places()


def last_stage(session: Session) -> Scatter:
    scatter = Scatter(session)
    scatter.choose(next(one for one in reversed(scatter.choices) if one.stage))
    return scatter


def test_points_fly_to_the_step_and_keep_their_identity(session: Session) -> None:
    scatter = last_stage(session)
    first, last = moved_to(scatter, 0), moved_to(scatter, 40)

    session.move_to_step(0)
    scatter.advance(0.02)
    between = scatter.places()

    assert not scatter.arrived
    assert (np.diff(first[:, 0]) > 0).all()
    assert ((between[:, 1] < last[:, 1]) & (between[:, 1] > first[:, 1])).all()
    np.testing.assert_allclose(between[:, 0], first[:, 0])


def test_all_steps_share_one_scale_unless_each_has_its_own(session: Session) -> None:
    scatter = last_stage(session)
    common = moved_to(scatter, 0)

    scatter.own_size = True
    own = scatter.places()

    assert common[:, 1].max() < 0 < -common[:, 1].max()  # lower than the middle of all steps
    np.testing.assert_allclose(own[:, 1], 0)


def test_a_line_around_points_chooses_them_and_says_their_classes(session: Session) -> None:
    scatter = last_stage(session)
    places = moved_to(scatter, 40)
    right = (places[2, 0] + places[3, 0]) / 2

    scatter.choose_inside(np.array([[-2, -2], [right, -2], [right, 2], [-2, 2]]))

    assert scatter.chosen_points.tolist() == [0, 1, 2]
    assert scatter.chosen_text().replace("\N{NO-BREAK SPACE}", " ").startswith("3 samples: 1 of a")
    assert scatter.text_of(2) == "c, sample 102"
    assert scatter.nearest(places[5, 0], places[5, 1], 0.01) == 5
    assert scatter.nearest(5, 5, 0.01) is None
    kept = scatter.pictures_of([1])
    assert kept is not None
    assert kept[0, 0, 0, 0] == 64


def test_inside_is_what_a_line_that_bends_goes_around() -> None:
    corners = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], float)  # with a notch from above
    points = np.array([[1, 1], [2, 3], [3, 1], [5, 1], [np.nan, 1]], float)

    assert inside(points, corners).tolist() == [True, False, True, False, False]


# ---------------------------------------------------------------- sequences


def test_sequences_stand_below_each_other_as_wide_as_the_room(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(10, 2))
    states = [{name: tensor + step for name, tensor in module.state_dict().items()}
              for step in range(2)]  # fmt: skip
    run, path = aw.open_run(write_states(tmp_path / "run", states)), tmp_path / "run.accw"
    aw.analyze(run, path)
    data = np.ones((6, 10), np.float32), np.zeros(6, np.int64)
    aw.probe(run, Plain(module), data, ["attribution:samples=6"], out=path)
    sheet = Sheet(session_of(path))

    grid = sheet.grid(400, 200)

    assert (grid.columns, grid.rows, grid.shown) == (1, 6, 6)
    assert grid.indent + grid.width == 400
    assert 6 * (grid.height + GAP) - GAP <= 200
    left, top = grid.place(2)
    assert grid.number_at(left + 1, top + 1) == 2
    assert grid.number_at(left - 1, top + 1) is None, "beside it is its name"
    assert sheet.grid(400, 40).shown < 6


# ---------------------------------------------------------------- samples that the user gives


def samples_file(folder: Path, *, count: int = 200, moved: int = 0) -> Path:
    """Write samples: number n has all pixels n, and the class that point n - 100 has."""
    x = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 40, 40))
    np.savez(folder / "data.npz", x=x, y=(np.arange(count) - 100 + moved) % 3)
    return folder / "data.npz"


def test_points_lead_to_the_samples_that_the_user_gives(session: Session, tmp_path: Path) -> None:
    scatter = Scatter(session)
    session.given = GivenSamples.read(samples_file(tmp_path))

    pictures = scatter.pictures_of([0, 5])

    assert pictures is not None
    assert pictures.shape == (2, 40, 40, 1), "larger than a probe keeps them"
    assert pictures[:, 0, 0, 0].tolist() == [100, 105], "rows of the result are 100 and on"
    assert scatter.obstacle == ""


def test_ratings_are_shown_over_given_samples_if_none_were_kept(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    for kept in path.glob("probes/*/sample-pictures"):
        shutil.rmtree(kept)
    session = session_of(path)
    sheet = Sheet(session)
    without = sheet._samples(sheet.choices[0])
    x = np.zeros((200, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "small.npz", x=x, y=(np.arange(200) - 100) % 3)

    session.given = GivenSamples.read(tmp_path / "small.npz")
    found = sheet._samples(sheet.choices[0])

    assert without is None
    assert found is not None
    assert found.shape == (POINTS, 8, 8, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"count": 50}, "data.npz has 50 samples"), ({"moved": 1}, "data.npz has other classes")],
)
def test_other_samples_are_not_taken_for_those_of_a_result(
    session: Session, tmp_path: Path, options: dict[str, int], told: str
) -> None:
    scatter = Scatter(session)
    session.given = GivenSamples.read(samples_file(tmp_path, **options))

    kept = scatter.pictures_of([1])

    assert scatter.obstacle.startswith(told)
    assert kept is not None
    assert kept[0, 0, 0, 0] == 64, "what the probe has kept"


def test_images_of_a_folder_are_samples_of_any_size(session: Session, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for number in range(120):
        shade = np.full((30 + number % 3, 50, 3), number, np.uint8)
        pillow.fromarray(shade).save(tmp_path / f"{number}.png")

    session.given = GivenSamples.read(tmp_path)
    pictures = Scatter(session).pictures_of([3])

    assert pictures is not None
    assert pictures.shape == (1, 64, 64, 3)
    assert pictures[0, 0, 0].tolist() == [103, 103, 103]
