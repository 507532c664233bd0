"""What somebody new tries first: paths in place of objects, names of layers, and a look at both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import accweight_core as aw
from accweight_core.analysis.exact_server import ExactServer
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    SourceError,
    StoreError,
    UnknownNameError,
)

SHAPES = {
    "fc1.weight": (4, 3),
    "fc1.bias": (4,),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "lstm.weight_ih_l0": (16, 4),
    "lstm.weight_hh_l0": (16, 4),
    "embed.weight": (7, 4),
    "scale.bias": (4,),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three checkpoints of NumPy arrays: steps 1 to 3."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (1, 2, 3):
        weights = {name: np.full(shape, step / 4) for name, shape in SHAPES.items()}
        np.savez(folder / f"epoch_{step}.npz", **weights)
    return folder


@pytest.fixture
def stored(folder: Path, tmp_path: Path) -> Path:
    """An analysis of them."""
    aw.analyze(folder, tmp_path / "run.accw")
    return tmp_path / "run.accw"


# --- paths in place of objects


def test_a_folder_is_analysed_like_the_run_in_it(folder: Path) -> None:
    expected = aw.analyze(aw.open_run(folder))

    for source in (folder, str(folder), sorted(folder.iterdir())):
        assert aw.analyze(source).values.tobytes() == expected.values.tobytes()


def test_weights_in_memory_are_analysed_without_opening_them() -> None:
    series = [{"a.weight": np.full((2, 2), float(step))} for step in range(3)]

    assert aw.analyze(series).ranking()["mean"].tolist() == [2.0]


def test_a_folder_is_appended_like_the_run_in_it(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.iterdir())
    aw.analyze(files[:2], tmp_path / "grown.accw", keep_state=True)

    grown = aw.append(folder, tmp_path / "grown.accw")

    assert grown.values.tobytes() == aw.analyze(folder).values.tobytes()


def test_analyses_are_compared_by_their_paths(stored: Path) -> None:
    opened = aw.open_analysis(stored)
    expected = repr(aw.compare(opened, opened))  # all weights moved alike: correlations are NaN

    for pair in ((stored, stored), (str(stored), opened), (opened, stored)):
        assert repr(aw.compare(*pair)) == expected


def test_sides_are_aligned_by_their_paths(stored: Path, folder: Path) -> None:
    expected = aw.align(aw.open_analysis(stored), aw.open_run(folder))

    assert aw.align(stored, str(folder)) == expected


@pytest.mark.parametrize("by_path", [aw.compare, aw.align])
def test_a_path_without_an_analysis_says_what_to_run(
    by_path: object, stored: Path, tmp_path: Path
) -> None:
    said = r"there is no such analysis; make one with: accweight analyze SOURCE -o NAME\.accw$"
    with pytest.raises(StoreError, match=said):
        by_path(stored, tmp_path / "gone.accw")  # type: ignore[operator]


def test_checkpoints_in_place_of_an_analysis_say_what_to_run(stored: Path, folder: Path) -> None:
    said = r"checkpoints: this is not an accweight analysis \(.* accweight analyze SOURCE -o "
    with pytest.raises(StoreError, match=said):
        aw.compare(stored, folder)


def test_a_run_in_place_of_an_analysis_says_how_to_analyse_it(stored: Path, folder: Path) -> None:
    with pytest.raises(TypeError, match=r"got Run; call analyze\(run\) to analyse a run") as caught:
        aw.compare(stored, aw.open_run(folder))  # type: ignore[arg-type]

    assert isinstance(caught.value, AccweightError)


@pytest.mark.parametrize("wrong", [5, None, 2.5], ids=str)
def test_what_is_no_source_says_what_would_be(wrong: object) -> None:
    said = f"expected a file, a folder, .*, or weights in memory, got {type(wrong).__name__}"
    for call in (aw.open_run, aw.analyze):
        with pytest.raises(ArgumentTypeError, match=said):
            call(wrong)  # type: ignore[operator]


def test_an_analysis_is_not_analysed_again(stored: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="got Analysis"):
        aw.analyze(aw.open_analysis(stored))  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_is_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file or folder"):
        aw.analyze(tmp_path / "gone")


# --- names of layers


@pytest.mark.parametrize(
    ("layer", "parameter"),
    [("fc1", "fc1.weight"), ("embed", "embed.weight"), ("scale", "scale.bias")],
)
def test_the_name_of_a_layer_finds_its_weights(stored: Path, layer: str, parameter: str) -> None:
    analysis = aw.open_analysis(stored)

    assert analysis.parameter_index(layer) == analysis.parameter_index(parameter)
    assert analysis.cumulative(layer).tobytes() == analysis.cumulative(parameter).tobytes()
    assert analysis.layout(layer) is analysis.layout(parameter)
    place = (0,) * len(SHAPES[parameter])
    assert analysis.trace(layer, place).parameter == parameter
    assert analysis.scale(layer, "layer") == analysis.scale(parameter, "layer")


def test_the_name_of_a_layer_is_answered_by_the_server_of_exact_values(stored: Path) -> None:
    answerer = ExactServer(stored)
    asked = [
        answerer.answer(f'{{"id": 1, "parameter": "{name}", "index": [0, 1]}}'.encode())
        for name in ("fc1", "fc1.weight")
    ]
    answerer.close()

    assert asked[0] == asked[1]
    assert asked[0]["weights"] == [0.25, 0.5, 0.75]


def test_the_name_of_a_layer_is_tracked() -> None:
    tracker = aw.ChangeTracker()
    for step in range(2):
        tracker.update({"fc1.weight": np.full((2, 2), step / 2), "fc1.bias": np.zeros(2)})

    assert tracker.cumulative("fc1").tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert tracker.analysis().cumulative("fc1").tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("layer", "listed"),
    [
        ("lstm", "lstm.weight_ih_l0, lstm.weight_hh_l0"),
        ("norm", "norm.weight, norm.bias"),
    ],
)
def test_a_layer_of_several_parameters_lists_them(stored: Path, layer: str, listed: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        aw.open_analysis(stored).cumulative(layer)

    assert str(caught.value) == f"'{layer}' is a layer of several parameters; name one: {listed}"


def test_a_parameter_comes_before_a_layer_of_its_name() -> None:
    series = [
        {"w": np.full((2, 2), float(step)), "w.extra": np.full((3, 3), 2.0 * step)}
        for step in range(2)
    ]

    analysis = aw.analyze(series)

    assert analysis.cumulative("w").shape == (2, 2)


# --- what objects look like


def test_a_run_shows_what_it_is(folder: Path) -> None:
    assert repr(aw.open_run(folder)) == (
        f"<Run of {folder}: 3 checkpoints, steps 1 to 3, 5 layers, 8 parameters, 184 weights>"
    )
    assert "1 checkpoint, step 2," in repr(aw.open_run(folder / "epoch_2.npz"))


def test_an_analysis_shows_what_it_is_and_where(folder: Path, stored: Path) -> None:
    short = "3 checkpoints, steps 1 to 3, 5 layers, 8 parameters, 184 weights"

    assert repr(aw.analyze(folder)) == f"<Analysis of {folder}: {short}; in memory>"
    assert repr(aw.open_analysis(stored)) == f"<Analysis of {folder}: {short}; in {stored}>"


def test_a_tracker_shows_how_far_it_is_and_its_store_gives_the_name(tmp_path: Path) -> None:
    assert repr(aw.ChangeTracker()) == "<ChangeTracker: 0 updates, 0 weights; in memory>"
    out = tmp_path / "fast.accw"
    with aw.ChangeTracker(out) as tracker:
        for step in (0, 5):
            tracker.update({"fc.weight": np.full((40, 50), float(step))}, step=step)
        assert repr(tracker) == f"<ChangeTracker: 2 updates, 0 to 5, 2,000 weights; in {out}>"
    assert repr(aw.open_analysis(out)).startswith("<Analysis of fast: ")
    assert repr(tracker.analysis()).startswith("<Analysis of fast: ")


def test_a_model_that_trains_is_shown_as_live() -> None:
    tracker = aw.ChangeTracker()
    for step in range(2):
        tracker.update({"fc.weight": np.full((40, 50), float(step))})

    assert repr(tracker.analysis()) == (
        "<Analysis of live: 2 checkpoints, steps 0 to 1, 1 layer, 1 parameter, 2,000 weights; "
        "in memory>"
    )
