"""Figures show the numbers of the analysis, stay legible, and are written as what was asked for."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from checkpoints import states
from click.testing import CliRunner, Result
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import accweight_core as aw
from accweight_core.analysis.figures.curves import spread
from accweight_core.analysis.shown import short_names
from accweight_core.cli.app import application
from accweight_core.colours.themes import LIGHT
from accweight_core.errors import MissingLibraryError, SourceError, StoreError, UnknownNameError

FIGURES: dict[str, Callable[[aw.Analysis], Figure]] = {
    "ranking": lambda analysis: analysis.plot.ranking(),
    "curves": lambda analysis: analysis.plot.curves(),
    "heatmap": lambda analysis: analysis.plot.heatmap(),
    "layers": lambda analysis: analysis.plot.layers(),
}
BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
HOSTILE = 'a<b>&"$\\frac{x$\x1b[31m 层.weight'


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> aw.Analysis:
    """Return a stored analysis of a network with a layer of most kinds."""
    return aw.analyze(aw.open_run(states(4)), tmp_path_factory.mktemp("figures") / "run.accw")


def many(layers: int, steps: int = 3) -> aw.Analysis:
    """Return the analysis of a network of so many layers."""
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(steps, layers, 2, 2)).cumsum(axis=0)
    return aw.analyze(
        aw.open_run([{f"net.h.{n}.w.weight": step[n] for n in range(layers)} for step in walk])
    )


def texts(figure: Figure) -> list[str]:
    """Return everything that is written on a figure."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in (*axes.texts, *axes.get_yticklabels())]
    return found


# --- what is drawn --------------------------------------------------------------------------


def test_the_bars_are_the_ranking_and_the_first_has_the_accent(analysis: aw.Analysis) -> None:
    figure = analysis.plot.ranking("relative", step=2)

    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    ranking = analysis.ranking("relative", step=2)
    assert [bar.get_width() for bar in bars] == ranking["relative"].tolist()
    names = [text for text in texts(figure) if text in set(ranking["layer"])]
    assert names == ranking["layer"].tolist()
    accented = [to_hex(bar.get_facecolor()) == LIGHT.accent for bar in bars]
    assert accented == [True, False, False, False, False, False]


def test_the_curves_are_the_columns_of_the_table(analysis: aw.Analysis) -> None:
    figure = analysis.plot.curves("step_mean")

    drawn = {tuple(np.asarray(line.get_ydata()).tolist()) for line in figure.axes[0].lines}
    for _, rows in analysis.table().groupby("layer"):
        assert tuple(rows["step_mean"].tolist()) in drawn


def test_the_heatmap_has_a_row_per_layer_in_network_order(analysis: aw.Analysis) -> None:
    figure = analysis.plot.heatmap("step_mean")

    axes = figure.axes[0]
    (image,) = axes.images
    cells = np.asarray(image.get_array())
    table = analysis.table().pivot(index="layer", columns="step", values="step_mean")
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == list(dict.fromkeys(analysis.table()["layer"]))
    assert cells.shape == (6, 4, 3)
    brightest = np.unravel_index(cells.astype(int).sum(axis=2).argmax(), (6, 4))
    assert table.loc[names].to_numpy()[brightest] == table.to_numpy().max()


def test_values_that_are_undefined_are_grey_and_said_to_be() -> None:
    zeros = [{"a.weight": np.zeros((2, 2)) + t, "b.weight": np.ones((2, 2)) + t} for t in range(3)]

    figure = aw.analyze(aw.open_run(zeros)).plot.heatmap("relative")

    cells = np.asarray(figure.axes[0].images[0].get_array())
    assert [f"#{bytes(cell).hex()}" for cell in cells[0]] == [LIGHT.gap] * 3
    assert any("grey: undefined" in text for text in texts(figure))


def test_curves_that_are_undefined_at_the_end_are_named() -> None:
    zeros = [{"a.weight": np.zeros((2, 2)) + t, "b.weight": np.ones((2, 2)) + t} for t in range(3)]

    figure = aw.analyze(aw.open_run(zeros)).plot.curves("relative")

    assert any("relative is undefined for a" in text for text in texts(figure))


def test_pictures_of_the_layers_are_in_network_order(analysis: aw.Analysis) -> None:
    figure = analysis.plot.layers()

    written = texts(figure)
    names = ["conv1", "conv2", "fc1", "embed", "lstm weight_ih_l0", "lstm weight_hh_l0", "fc2"]
    assert [text for text in written if text in names] == names
    assert [axes.images[0].get_array().shape[:2] for axes in figure.axes][2] == (16, 48)  # type: ignore[union-attr]


@pytest.mark.parametrize("step", [1, 3])
def test_pictures_of_an_analysis_in_memory_are_those_of_a_stored_one(
    analysis: aw.Analysis, step: int
) -> None:
    in_memory = aw.analyze(aw.open_run(states(4)))

    drawn = in_memory.plot.layers(step), analysis.plot.layers(step)

    pictures = [[np.asarray(a.images[0].get_array()) for a in figure.axes] for figure in drawn]
    for here, there in zip(*pictures, strict=True):
        np.testing.assert_array_equal(here, there)


def test_a_model_in_training_has_pictures_of_its_last_step() -> None:
    tracker = aw.ChangeTracker()
    for step, state in enumerate(states(3)):
        tracker.update(state, step=step)

    assert len(tracker.analysis().plot.layers().axes) == 7
    with pytest.raises(SourceError, match="the last step alone"):
        tracker.analysis().plot.layers(step=1)


def test_what_is_not_counted_is_said(analysis: aw.Analysis) -> None:
    for draw in FIGURES.values():
        assert any(text.endswith("are not counted") for text in texts(draw(analysis)))


def test_what_a_metric_is_no_evidence_for_is_not_cut_off(analysis: aw.Analysis) -> None:
    lines = texts(analysis.plot.ranking(by="relative"))

    (begun,) = (at for at, line in enumerate(lines) if line.endswith("not for whether"))
    assert lines[begun - 1] == "the layer is needed"  # lines are written from the lowest up
    assert not any(line.endswith("\N{HORIZONTAL ELLIPSIS}") for line in lines)


def test_a_title_says_metric_and_step_and_the_axis_its_unit(analysis: aw.Analysis) -> None:
    written = texts(analysis.plot.ranking("max", step=1))

    assert "Layers by max at step 1" in written
    assert "run: longest path of any weight" in written
    assert "max (unit: that of the weights)" in written


# --- many layers ----------------------------------------------------------------------------


def test_a_ranking_of_many_layers_shows_the_first_and_counts_the_others() -> None:
    network = many(177)

    figure = network.plot.ranking()

    assert len(figure.axes[0].patches) == 40
    assert "and 137 more layers" in texts(figure)
    assert len(network.plot.ranking(top=3).axes[0].patches) == 3


def test_a_heatmap_of_hundreds_of_layers_names_some_that_do_not_overlap() -> None:
    figure = many(300).plot.heatmap()

    axes = figure.axes[0]
    height = axes.get_position().height * figure.get_size_inches()[1]
    names = [text for text in texts(figure) if text.startswith("h.")]
    assert names[:2] == ["h.0.w", "h.5.w"]
    assert height / len(names) > 0.14
    assert figure.get_size_inches()[1] < 12


def test_names_of_many_curves_do_not_overlap() -> None:
    figure = many(120).plot.curves()

    heights = sorted(
        text.xy[1]
        for text in figure.axes[0].texts  # type: ignore[attr-defined]
    )
    inches = figure.axes[0].get_position().height * figure.get_size_inches()[1]
    assert len(heights) > 5
    assert np.diff(heights).min() * inches > 0.15


def test_names_that_are_too_close_move_apart_and_stay_inside() -> None:
    assert spread([0.0, 0.0, 0.1], 1.0, 9.0) == [0.0, 1.0, 2.0]
    assert spread([9.0, 8.9, 3.0], 1.0, 9.0) == [9.0, 8.0, 3.0]
    assert spread([], 1.0, 9.0) == []


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["model.a", "model.b"], ["a", "b"]),
        (["h.0.q", "h.1.q"], ["h.0.q", "h.1.q"]),
        (["x"], ["x"]),
        (["a.b", "b"], ["a.b", "b"]),
        ([], []),
        (["m.w" + "x" * 60, "m.v"], ["w" + "x" * 16 + "…" + "x" * 17, "v"]),
    ],
)
def test_names_lose_what_they_share(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", BEGINNINGS)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_written_in_every_format(
    analysis: aw.Analysis, tmp_path: Path, name: str, ending: str
) -> None:
    out = tmp_path / f"{name}.{ending}"

    result = accweight("plot", analysis.path, name, "-o", out, "--json")

    assert json.loads(result.stdout) == {"out": str(out), "figure": name}
    assert out.read_bytes().startswith(BEGINNINGS[ending])
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_text_in_svg_is_text_and_a_figure_is_the_same_bytes_again(analysis: aw.Analysis) -> None:
    first, second = (analysis.plot.curves().content("svg") for _ in range(2))

    assert first == second
    assert re.search(rb"<text[^>]*>conv1</text>", first)


@pytest.mark.parametrize("name", FIGURES)
def test_names_from_files_are_drawn_as_they_are(name: str) -> None:
    series = [{HOSTILE: np.full((2, 2), 1 + t / 2), "b.weight": np.ones((2, 2))} for t in range(3)]
    figure = FIGURES[name](aw.analyze(aw.open_run(series)))

    svg = figure.content("svg").decode()  # type: ignore[attr-defined]

    whole = 'a&lt;b&gt;&amp;"$\\frac{x$\\x1b[31m 层'
    assert (whole[-12:] if name == "layers" else whole) in svg.replace("&quot;", '"')
    assert "\x1b" not in svg


def test_figures_need_no_pyplot_and_leave_settings_alone(analysis: aw.Analysis) -> None:
    before = dict(mpl.rcParams)
    pyplot = sys.modules.get("matplotlib.pyplot")

    shown = analysis.plot.ranking()._repr_png_()

    assert shown.startswith(BEGINNINGS["png"])
    assert dict(mpl.rcParams) == before
    assert sys.modules.get("matplotlib.pyplot") is pyplot


# --- what goes wrong ------------------------------------------------------------------------


def accweight(*arguments: object, code: int = 0) -> Result:
    """Run the command, whose errors are raised, and return what it printed."""
    result = CliRunner().invoke(application(), list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("name", ["figure", "figure.jpg", "figure.PNG.txt"])
def test_an_ending_that_is_no_format_is_named(
    analysis: aw.Analysis, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UnknownNameError, match=r"its name must end in \.png, \.svg or \.pdf"):
        accweight("plot", analysis.path, "ranking", "-o", tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_exists_is_only_replaced_when_asked(
    analysis: aw.Analysis, tmp_path: Path
) -> None:
    out = tmp_path / "figure.png"
    out.write_text("years of work")

    with pytest.raises(StoreError, match="exists already"):
        accweight("plot", analysis.path, "ranking", "-o", out)

    assert out.read_text() == "years of work"
    accweight("plot", analysis.path, "ranking", "-o", out, "--overwrite")
    assert out.read_bytes().startswith(BEGINNINGS["png"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("layers", "--by", "mean"), "--by says nothing about layers"),
        (("heatmap", "--at", "0"), "--at says nothing about heatmap; it is for ranking, layers"),
        (("heatmap", "--top", "3"), "--top says nothing about heatmap"),
        (("pie",), "'pie' is not one of"),
    ],
)
def test_options_without_a_meaning_are_refused(
    analysis: aw.Analysis, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = accweight("plot", analysis.path, *arguments, "-o", tmp_path / "figure.png", code=2)

    assert told in " ".join(result.output.split())


def test_metrics_and_steps_that_do_not_exist_are_named(analysis: aw.Analysis) -> None:
    with pytest.raises(UnknownNameError, match="no metric is called 'size'"):
        analysis.plot.curves("size")
    with pytest.raises(UnknownNameError, match="the run has no step 17"):
        analysis.plot.layers(17)


def test_a_missing_library_names_the_extra(
    analysis: aw.Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(MissingLibraryError) as caught:
        analysis.plot.ranking()

    assert str(caught.value) == (
        "drawing figures needs matplotlib, which is not installed; "
        "install it with: pip install 'accweight[plot]'"
    )


@pytest.mark.parametrize("name", FIGURES)
def test_a_run_of_one_step_and_one_of_no_weights_are_drawn(name: str) -> None:
    still: list[dict[str, Any]] = [{"w.weight": np.ones((1, 1))}] * 2

    assert FIGURES[name](aw.analyze(aw.open_run(still))).axes


@pytest.mark.parametrize("name", ["ranking", "curves", "heatmap"])
def test_an_analysis_without_rows_is_drawn_empty(name: str) -> None:
    empty = aw.analyze(aw.open_run([{"w.weight": np.zeros((0, 3))}] * 2))

    assert FIGURES[name](empty).axes


def test_an_analysis_without_pictures_says_so() -> None:
    empty = aw.analyze(aw.open_run([{"w.weight": np.zeros((0, 3))}] * 2))

    with pytest.raises(StoreError, match="holds no pictures of its layers"):
        empty.plot.layers()
