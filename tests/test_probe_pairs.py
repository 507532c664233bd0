"""Two runs side by side: what a class looks like follows the data that each was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import opened
from click.testing import CliRunner
from probe_networks import Plain, stack, trained, write_states
from test_probe_class_pictures import shapes

import accweight_core as aw
from accweight_core.cli.app import application
from accweight_core.errors import UnknownNameError

ORDERS = {"a": (0, 1, 2), "b": (2, 0, 1)}
ASKED = "feature_visualization:layers=2,units=3,begin_at=mean"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two analyses of networks that were trained on other shapes."""
    home = tmp_path_factory.mktemp("pairs")
    for name, order in ORDERS.items():
        y, chance = np.arange(150) % 3, np.random.default_rng(0)
        x = shapes()[np.array(order)[y]] + 0.1 * chance.standard_normal((150, 64))
        x = x.astype(np.float32)
        epochs = 3 if name == "a" else 4
        states = trained(stack(64, 12, 3), x, y, epochs=epochs, rate=0.02)
        run = aw.open_run(write_states(home / name, states))
        asked = [ASKED, "evaluate", *(["stability"] if name == "a" else [])]
        aw.probe(run, Plain(stack(64, 12, 3)), (x, y), asked, out=home / f"{name}.accw")
    return home


def compared(home: Path, *options: str) -> Any:
    words = ["compare", str(home / "a.accw"), str(home / "b.accw"), *options]
    return CliRunner().invoke(application(), words)


def sides(page: Path) -> list[dict[str, Any]]:
    """Return what is shown of both runs, the two of a probe after each other."""
    text = page.read_text("utf-8").split('id="probe-data">')[1].split("</script>")[0]
    found: list[dict[str, Any]] = json.loads(text)[0]
    return found


def test_the_page_shows_classes_as_the_shapes_that_each_run_was_trained_on(
    runs: Path, tmp_path: Path
) -> None:
    found = compared(runs, "--html", str(tmp_path / "both.html"), "--json")

    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["html"] == str(tmp_path / "both.html")
    shown = sides(tmp_path / "both.html")
    assert [one["name"] for one in shown] == ["evaluate"] * 2 + ["feature_visualization"] * 2
    assert [one["steps"][-1] for one in shown[2:]] == [3, 4]
    for (name, order), side in zip(ORDERS.items(), shown[2:], strict=True):
        result = aw.open_analysis(runs / f"{name}.accw").probes["feature_visualization"]
        optima = result.array("optimum")[-1].reshape(3, 64)
        alike = np.corrcoef(np.concatenate([optima, shapes()]))[:3, 3:]
        assert alike.argmax(axis=1).tolist() == list(order)
        (pictures,) = [view for view in side["views"] if view["kind"] == "pictures"]
        assert pictures["labels"] == ["2/0", "2/1", "2/2"]


def test_curves_of_both_runs_have_the_same_axes(runs: Path, tmp_path: Path) -> None:
    compared(runs, "--html", str(tmp_path / "both.html"))

    views = [[v for v in one["views"] if "charts" in v] for one in sides(tmp_path / "both.html")]
    for left, right in ((views[0], views[1]), (views[2], views[3])):
        for a, b in zip(left, right, strict=True):
            assert a["span"] == b["span"] == [0, 4]
            assert [one["range"] for one in a["charts"]] == [one["range"] for one in b["charts"]]
            for low, high in (one["range"] for one in a["charts"]):
                assert low < high
            for one in (*a["charts"], *b["charts"]):
                values = [value for line in one["lines"] for value in line if value is not None]
                assert one["range"][0] <= min(values) <= max(values) < one["range"][1]


def test_figures_are_drawn_side_by_side(runs: Path, tmp_path: Path) -> None:
    found = compared(runs, "--png", str(tmp_path / "png"))

    assert found.exit_code == 0, found.stderr
    drawn = tmp_path / "png" / "feature_visualization-images.png"
    assert f"drawn: {drawn}" in found.stdout
    alone = aw.open_analysis(runs / "a.accw").probes["feature_visualization"]
    from matplotlib.image import imread

    from accweight_core.analysis.figures.of_probes.choosing import figures_of

    width = figures_of(alone)["images"]().get_size_inches()[0]
    assert imread(drawn).shape[1] == pytest.approx(2 * 200 * width, abs=4)


def test_one_time_line_moves_both(runs: Path, tmp_path: Path, browser: Any) -> None:
    compared(runs, "--html", str(tmp_path / "both.html"))

    with opened(browser, tmp_path / "both.html", width=1400) as page:
        assert page.locator("h4.run").all_inner_texts()[:2] == ["a weights verified",
                                                                "b weights verified"]  # fmt: skip
        assert page.locator(".time").count() == 1
        page.wait_for_selector(".side:nth-child(1) .of-pictures[data-shown='3']")
        page.wait_for_selector(".side:nth-child(2) .of-pictures[data-shown='4']")
        page.locator(".time .slide").focus()
        page.keyboard.press("Home")
        page.wait_for_selector(".side:nth-child(1) .of-pictures[data-shown='0']")
        page.wait_for_selector(".side:nth-child(2) .of-pictures[data-shown='0']")
        left, right = (
            page.locator(f".side:nth-child({side}) .of-pictures").bounding_box() for side in (1, 2)
        )
        assert left["y"] == pytest.approx(right["y"], abs=1)


def test_runs_with_no_probe_in_common_are_told(runs: Path, tmp_path: Path) -> None:
    weights = {s: {"fc.weight": np.eye(3, dtype="f4") * (s + 1)} for s in range(2)}
    aw.analyze(aw.open_run(weights), tmp_path / "bare.accw")
    words = ["compare", str(runs / "a.accw"), str(tmp_path / "bare.accw"), "--html", "x.html"]

    found = CliRunner().invoke(application(), words)

    assert isinstance(found.exception, UnknownNameError)
    assert str(found.exception).startswith("no probe has results in both runs: ")
    assert str(found.exception).endswith("bare has none; accweight probe computes them")
    groups = ["compare", "--group", "x", str(runs / "a.accw"), "--group", "y",
              str(runs / "b.accw"), "--html", "x.html"]  # fmt: skip
    refused = CliRunner().invoke(application(), groups)
    assert refused.exit_code == 2
    assert "--html and --png are for two runs: A B" in refused.stderr


def test_results_of_other_options_are_shown_and_said(runs: Path, tmp_path: Path) -> None:
    from accweight_core.analysis.probe_pairs import probe_pairs

    states = trained(stack(4, 3, 2), np.eye(4, dtype="f4"), np.array([0, 1, 0, 1]), epochs=1)
    run = aw.open_run(write_states(tmp_path / "run", states))
    for name, quiet in (("left", 0.1), ("right", 0.2)):
        aw.probe(run, None, None, f"stability:quiet={quiet}", out=tmp_path / f"{name}.accw")
    both = [aw.open_analysis(tmp_path / f"{name}.accw") for name in ("left", "right")]

    (pair,) = probe_pairs(*(one.probes for one in both), ("left", "right")).values()

    assert pair.differing == ["quiet"]
    words = ["compare", *(str(tmp_path / f"{n}.accw") for n in ("left", "right")), "--html"]
    found = CliRunner().invoke(application(), [*words, str(tmp_path / "both.html")])
    assert found.exit_code == 0, found.stderr
    assert "asked with other options: quiet" in (tmp_path / "both.html").read_text("utf-8")
