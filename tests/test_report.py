"""A report says what the analysis says, in every form, whatever names are in it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser_pages import Tags
from checkpoints import states
from click.testing import CliRunner
from probe_networks import Classifier, Plain, digits, trained, write_states

import accweight_core as aw
from accweight_core.cli.app import application
from accweight_core.errors import ArgumentValueError, StoreError, UnknownNameError
from accweight_core.reports.content import content_of
from accweight_core.reports.formatting import ends, sentence
from accweight_core.reports.run_content import MOST_PICTURED, MOST_VALUES
from accweight_core.reports.scatter import scatter

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m.weight"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a stored analysis of a network with a layer of most kinds."""
    out = tmp_path_factory.mktemp("report") / "run.accw"
    aw.analyze(aw.open_run(states(4)), out)
    return out


@pytest.fixture(scope="module")
def page(stored: Path) -> str:
    """Return the page of that analysis."""
    return aw.report(stored, out=stored.parent / "report.html").read_text("utf-8")


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    tags = Tags(page).found

    sources = [value for _, at in tags for name, value in at.items() if name in ("src", "href")]
    assert sources
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources if source)
    assert "@import" not in page
    assert "url(" not in page
    policy = next(at["content"] for _, at in tags if "http-equiv" in at)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_page_has_the_ranking_and_every_curve(page: str, stored: Path) -> None:
    analysis = aw.open_analysis(stored)
    ranking = analysis.ranking()

    data = json.loads(page.split('id="data">')[1].split("</script>")[0])

    (run,) = data["runs"]
    assert run["steps"] == analysis.steps.tolist()
    assert list(run["metrics"]) == list(analysis.metrics)
    table = analysis.table().set_index(["layer", "step"])
    for at, layer in enumerate(ranking["layer"]):
        drawn = np.array(run["metrics"]["relative"][at], float)
        np.testing.assert_allclose(drawn, table.loc[layer]["relative"], rtol=1e-3)
        assert f'title="{layer}"' in page


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    run = aw.open_run([{HOSTILE: np.full((4, 4), t, "f4"), "b.weight": np.eye(3) + t}
                       for t in range(3)])  # fmt: skip

    page = aw.report(aw.analyze(run), out=tmp_path / "r.html").read_text("utf-8")

    tags = Tags(page)
    assert [at for tag, at in tags.found if tag == "img" and at.get("src") == "x"] == []
    assert sum(tag == "script" for tag, _ in tags.found) == 3
    assert "\x1b" not in page
    assert "onerror=alert(1)" in tags.words


@pytest.mark.parametrize("form", ["md", "json"])
def test_other_forms_say_the_same(stored: Path, form: Any, tmp_path: Path) -> None:
    text = aw.report(stored, out=tmp_path / "r", form=form).read_text("utf-8")

    first = aw.open_analysis(stored).ranking().iloc[0]
    if form == "json":
        (run,) = json.loads(text)["runs"]
        assert run["ranking"][0]["layer"] == first["layer"]
        assert run["ranking"][0]["relative"] == first["relative"]
        assert run["ranking"][0]["random_walk"]["relative"]["value"] > 0
    else:
        assert f"| 1 | {first['layer']} |" in text
        assert f"{first['relative']:.4g}" in text


def test_names_are_no_markup_in_markdown(tmp_path: Path) -> None:
    run = aw.open_run([{"[a](x)|*b*.weight": np.eye(4) + t} for t in range(3)])

    text = aw.report(aw.analyze(run), out=tmp_path / "r.md", form="md").read_text("utf-8")

    assert "\\[a\\](x)\\|\\*b\\*" in text


def test_what_is_wrong_stands_first(tmp_path: Path) -> None:
    broken = [{"a.weight": np.full((3, 3), np.nan if t == 2 else t, "f4")} for t in range(4)]

    page = aw.report(aw.analyze(aw.open_run(broken)), out=tmp_path / "r.html").read_text("utf-8")

    assert re.search(r'class="wrong">The first NaN or infinity is in a\.weight at step 2', page)


def test_several_runs_are_compared(stored: Path, tmp_path: Path) -> None:
    half = aw.analyze(aw.open_run(dict(list(enumerate(states(4)))[::2])))

    content = content_of([aw.open_analysis(stored), half], None, "")

    compared = content["comparison"]
    assert compared["metrics"] == ["relative", "efficiency", "rotation"]
    expected = aw.compare(stored, half, "relative")
    found = {row["layer"]: row["relative"] for row in compared["rows"]}
    assert all(found[p.layer] == [p.value_a, p.value_b] for p in expected.layers)
    assert compared["pairs"][0]["spearman"] == expected.spearman
    assert any("has other steps than" in note for note in compared["notes"])


def test_runs_without_a_common_layer_are_reported_beside_each_other(tmp_path: Path) -> None:
    a, b = (
        aw.analyze(aw.open_run([{name: np.ones(size) + t} for t in range(3)]))
        for name, size in (("a.weight", (4, 4)), ("x.embed.conv.weight", (5, 3, 2, 2)))
    )

    page = aw.report(a, b, out=tmp_path / "r.html").read_text("utf-8")

    assert "is not compared" in page


def test_long_runs_and_many_layers_stay_small() -> None:
    generator = np.random.default_rng(0)
    moves = generator.standard_normal((60, 12, 2, 2)).astype("f4").cumsum(0)
    run = {t: {f"l{n}.weight": moves[t, n % 12] + n for n in range(400)} for t in range(60)}

    content = content_of([aw.analyze(aw.open_run(run))], None, "")["runs"][0]

    curves = content["curves"]
    assert len(curves["places"]) * 400 * len(curves["metrics"]) <= MOST_VALUES
    assert curves["places"][0] == 0
    assert curves["places"][-1] == 59
    assert len(content["pictures"]) == MOST_PICTURED


def test_the_command_writes_and_replaces(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "it's.html"
    call = ["report", str(stored), "-o", str(out), "--json"]

    first = CliRunner().invoke(application(), call)
    again = CliRunner().invoke(application(), call)
    replaced = CliRunner().invoke(application(), [*call, "--overwrite", "--by", "mean"])

    assert json.loads(first.stdout) == {
        "out": str(out),
        "format": "html",
        "size_bytes": json.loads(first.stdout)["size_bytes"],
    }
    assert again.exit_code == 1
    assert "exists already" in str(again.exception)
    assert replaced.exit_code == 0
    assert "accweight report" in out.read_text("utf-8")


def test_what_cannot_be_done_is_said(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentValueError, match="at least one analysis"):
        aw.report(out=tmp_path / "r.html")
    with pytest.raises(UnknownNameError, match="no metric is called 'speed'"):
        aw.report(stored, out=tmp_path / "r.html", by="speed")
    with pytest.raises(StoreError):
        aw.report(stored, out=tmp_path / "no folder" / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_sentences_and_ends() -> None:
    assert sentence("nothing moved") == "Nothing moved."
    assert sentence("embed never moved", ["embed"]) == "embed never moved."
    assert sentence("fc1.weight is NaN") == "fc1.weight is NaN."
    assert ends([None, 2.5, 1.0]) == "2.5 \N{RIGHTWARDS ARROW} 1"
    assert ends([None]) == "-"


def test_a_rewind_stands_beside_movement_and_names_in_it_are_text(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (x, y), module = digits(48), Classifier()
    run = aw.open_run(write_states(tmp_path / "run", trained(module, x, y)))
    aw.probe(run, Plain(module), (x, y), "rewind", out=tmp_path / "run.accw", steps="first,2")

    form: Any
    for form in ("html", "md", "json"):
        aw.report(tmp_path / "run.accw", out=tmp_path / f"report.{form}", form=form)

    found = json.loads((tmp_path / "report.json").read_text())["runs"][0]["criticality"]
    assert found["steps"] == [0, 2]
    assert {row["layer"] for row in found["rows"]} == {"conv", "fc1", "fc2"}
    assert found["rows"][0]["lost"][0] == max(row["lost"][0] for row in found["rows"])
    tags = Tags((tmp_path / "report.html").read_text("utf-8"))
    assert sum(attrs.get("class") == "point" for _, attrs in tags.found) == 3
    assert "not whether the layer is needed" in tags.words
    assert "### Which layers are critical" in (tmp_path / "report.md").read_text("utf-8")


def test_points_lie_between_round_ticks_and_names_do_not_overlap() -> None:
    plot = scatter([("a", 1.0, 0.5), ("b", 1.0, 0.5), ("conv9", 2.0, -0.1), ("d", math.nan, 1.0)])

    assert [tick["text"] for tick in plot["across"]] == ["0", "0.5", "1", "1.5", "2"]
    assert [tick["text"] for tick in plot["up"]] == ["-0.2", "0", "0.2", "0.4", "0.6"]
    assert [point["name"] for point in plot["points"]] == ["a", "b", "conv9"]
    assert [point["label"] is not None for point in plot["points"]] == [True, True, True]
    sides = [point["label"]["anchor"] for point in plot["points"]]
    assert sides == ["start", "end", "end"]
    assert all(plot["left"] <= point["x"] <= plot["right"] for point in plot["points"])


def test_a_loss_that_is_not_finite_is_told_as_such(tmp_path: Path) -> None:
    with aw.ChangeTracker(tmp_path / "a.accw", errors="raise") as tracker:
        for step, loss in enumerate([2.0, 0.5, float("nan")]):
            tracker.update({"fc.weight": torch.full((2, 2), step / 4)}, loss=loss)
    analysis = aw.open_analysis(tmp_path / "a.accw")

    aw.report(analysis, out=tmp_path / "a.html")
    aw.report(analysis, out=tmp_path / "a.md", form="md")

    page, text = ((tmp_path / f"a.{end}").read_text(encoding="utf-8") for end in ("html", "md"))
    assert "<dd>2 \N{RIGHTWARDS ARROW} nan</dd>" in page
    assert "Loss is nan at step 2." in page
    assert "loss: 2 to nan" in text
    assert "- loss is nan at step 2" in text
