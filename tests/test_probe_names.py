"""What results of one probe are called where there are several, and which of them are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from probe_results import LAYERS, STEPS, field, stored_results

import accweight_core as aw
from accweight_core.analysis.probe_metrics import is_probe_metric, probe_metric
from accweight_core.cli.app import application
from accweight_core.errors import UnknownNameError
from accweight_core.reports.probe_page import probe_page
from accweight_core.store.probe_store import ProbeDocument, ProbeStore


def store(analysis: Path, digit: str, value: float, /, **said: Any) -> str:
    """Store a number of layers, `value` at all of them; return the name of its folder."""
    asked: dict[str, Any] = {"probe": "clarity", "version": 1, "options": {}, **said}
    fields = (field("share", "step layer", (0, 3)), field("loss", "step", (0,)))
    document = ProbeDocument(
        **asked, steps=STEPS, fields=fields, labels={"layer": LAYERS}, attributes={}
    )
    found = ProbeStore.begun(analysis, digit * 12, document)
    for step in STEPS:
        found.write_step(step, {"share": np.full(3, value), "loss": np.array(value)})
    return found.folder.name


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    return stored_results(tmp_path / "run.accw")


@pytest.fixture
def asked_twice(analysis: Path) -> Path:
    """An analysis with two results of one probe, the later one with an option."""
    store(analysis, "b", 0.5, options={"parts": 8, "of": None}, asked="clarity")
    store(analysis, "a", 0.25, options={"parts": 2, "of": "x"}, asked="clarity:parts=2,of=x")
    return analysis


def names(analysis: Path) -> list[str]:
    return [name for name in aw.open_analysis(analysis).probes if name.startswith("clarity")]


def ranked(analysis: Path, by: str) -> float:
    return float(aw.open_analysis(analysis).ranking(by)[by].iloc[0])


def test_the_only_result_has_the_name_of_its_probe(analysis: Path) -> None:
    store(analysis, "a", 0.5, options={"parts": 2}, asked="clarity:parts=2")

    assert names(analysis) == ["clarity"]
    assert ranked(analysis, "clarity.share") == 0.5
    assert ranked(analysis, "clarity:parts=2.share") == 0.5


def test_several_have_the_names_that_ask_for_them(asked_twice: Path) -> None:
    assert names(asked_twice) == ["clarity", "clarity:parts=2,of=x"]
    assert ranked(asked_twice, "clarity.share") == 0.5
    assert ranked(asked_twice, "clarity:parts=2,of=x.share") == 0.25
    assert ranked(asked_twice, "clarity:of=x.share") == 0.25  # fewer options that fit one alone
    assert ranked(asked_twice, f"clarity-{'a' * 12}.share") == 0.25


def test_results_of_older_versions_are_told_apart_by_the_options_that_differ(
    analysis: Path,
) -> None:
    store(analysis, "a", 0.5, options={"parts": 8, "deep": True, "layers": []})
    store(analysis, "b", 0.5, options={"parts": 8, "deep": False, "layers": ["x", "y"]})

    assert names(analysis) == ["clarity:deep=true,layers=", "clarity:deep=false,layers=x+y"]


def test_a_name_that_may_be_of_several_is_refused_with_names_to_type(analysis: Path) -> None:
    for digit, parts in (("a", 2), ("b", 4)):
        store(analysis, digit, parts, options={"parts": parts}, asked=f"clarity:parts={parts}")

    with pytest.raises(UnknownNameError, match="may be of 2 results") as told:
        aw.open_analysis(analysis).ranking("clarity.share")

    assert "clarity:parts=2.share, clarity:parts=4.share" in str(told.value)
    assert ranked(analysis, "clarity:parts=4.share") == 4


def test_the_same_options_on_other_samples_are_told_apart_by_order(analysis: Path) -> None:
    for digit, value in (("b", 1), ("a", 2)):
        store(analysis, digit, value, asked="clarity", data=digit)

    assert names(analysis) == ["clarity#1", "clarity#2"]
    assert ranked(analysis, "clarity#2.share") == 2
    assert aw.open_analysis(analysis).probes["clarity"].array("loss")[0] == 2  # the latest
    with pytest.raises(UnknownNameError, match="a higher one is later"):
        ranked(analysis, "clarity.share")


def test_an_option_that_ends_like_a_number_hides_no_result(analysis: Path) -> None:
    for digit, of in (("a", "x"), ("b", "x"), ("c", "x#1")):
        store(analysis, digit, 1, options={"of": of}, asked=f"clarity:of={of}", data=digit)

    assert sorted(names(analysis)) == ["clarity:of=x#1", "clarity:of=x#2", "clarity:of=x#3"]


def test_a_probe_alone_is_no_metric_and_its_numbers_are_listed(asked_twice: Path) -> None:
    analysis = aw.open_analysis(asked_twice)

    with pytest.raises(UnknownNameError, match="is a probe; say which of its numbers") as told:
        analysis.ranking("clarity")
    assert str(told.value).endswith("clarity.share, clarity:parts=2,of=x.share")
    with pytest.raises(UnknownNameError, match=r"is a probe; .*: clarity:parts=2,of=x\.share$"):
        analysis.ranking("clarity:of=x")
    with pytest.raises(UnknownNameError, match=r"'clarity:parts=2,of=x\.loss' is a number of the"):
        analysis.ranking("clarity:parts=2,of=x.loss")


def test_a_ranking_says_that_there_are_other_results(asked_twice: Path) -> None:
    found = CliRunner().invoke(application(), ["rank", str(asked_twice), "--by", "clarity.share"])

    assert found.exit_code == 0, found.output
    assert "asked for in other ways: clarity:parts=2,of=x.share" in found.output


def test_messages_list_numbers_of_the_probe_in_question_and_not_all(asked_twice: Path) -> None:
    with pytest.raises(UnknownNameError) as told:
        ranked(asked_twice, "clarity:of=y.share")

    assert str(told.value).endswith("have found clarity.share, clarity:parts=2,of=x.share")


@pytest.mark.parametrize(
    "name",
    [
        "clarity.share",
        "clarity:parts=2.share",
        "clarity:noise=0.1,of=a/b.c+d.share",
        "clarity#2.share",
        "clarity:parts=2#3.share",
        f"clarity-{'a' * 12}.share",
    ],
)
def test_names_with_options_are_names_of_metrics(name: str) -> None:
    assert is_probe_metric(name)


def test_the_newest_version_is_shown_and_says_what_is_left(analysis: Path) -> None:
    for digit, version in (("c", 1), ("a", 3), ("b", 2)):
        store(analysis, digit, version, version=version, options={"parts": 2}, asked="clarity")
    other = store(analysis, "d", 9, options={"parts": 5}, asked="clarity:parts=5")
    probes = aw.open_analysis(analysis).probes

    assert names(analysis) == ["clarity", "clarity:parts=5"]
    assert probes["clarity"].array("loss")[0] == 3
    assert [one.name for one in probes["clarity"].older] == [
        f"clarity-{'b' * 12}",
        f"clarity-{'c' * 12}",
    ]
    assert probes[other].older == ()
    (note,) = probes["clarity"].notes
    assert f"delete the folders clarity-{'b' * 12} and clarity-{'c' * 12} in probes/" in note


def test_an_older_version_stays_until_a_newer_one_has_a_step(analysis: Path) -> None:
    store(analysis, "a", 1, version=1)
    document = ProbeDocument("clarity", 2, {"new": 1}, STEPS, (field("loss", "step", (0,)),))
    ProbeStore.begun(analysis, "b" * 12, document)

    assert len(names(analysis)) == 2


def test_a_page_names_several_results_of_one_probe(asked_twice: Path, tmp_path: Path) -> None:
    store(asked_twice, "c", 1, version=2, options={"parts": 8, "of": None}, asked="clarity")
    found = aw.open_analysis(asked_twice).probes
    page = probe_page([found[name] for name in names(asked_twice)], tmp_path / "page.html")

    text = page.read_text("utf-8")

    assert ">clarity:parts=2,<wbr>of=x</a>" in text
    assert "An older result of this, by an earlier version of the probe, is not shown" in text


def test_damaged_ones_among_several_are_called_by_their_folder(asked_twice: Path) -> None:
    (asked_twice / "probes" / f"clarity-{'b' * 12}" / "zarr.json").write_text("{}")

    assert names(asked_twice) == ["clarity", f"clarity-{'b' * 12}"]
    found = aw.open_analysis(asked_twice).probes
    assert probe_metric(found, "clarity.share", np.array(STEPS)).by_layer["conv"][0] == 0.25
