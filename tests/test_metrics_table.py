"""The table of metrics: each entry is complete, and everything else asks the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import accweight

import accweight_core as aw
from accweight_core import kernels
from accweight_core.errors import StoreError, UnknownNameError
from accweight_core.metrics import table
from accweight_core.metrics.sums import ALL, FIRST_SUMS, SUMS, Merge
from accweight_core.metrics.table import METRICS, TABLE, Metric, checked_metric, metrics_from
from accweight_core.metrics.totals import metrics_of
from accweight_core.store.zarr_chunks import ChunkedArray

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


def weights(steps: int = 4) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    walk = torch.randn(steps, 6, 5).cumsum(0)
    return [{"a.weight": state, "b.weight": 2 * state[:2]} for state in walk]


def stored(path: Path) -> aw.Analysis:
    analysis = aw.analyze(aw.open_run(weights()), path)
    assert len(analysis.values)  # read before anyone rewrites them
    return analysis


def edited(path: Path, **changes: object) -> None:
    """Change attributes of the header of a stored analysis, as another version would write it."""
    document = json.loads((path / "zarr.json").read_text())
    header = document["attributes"]["accweight"]
    for name, value in changes.items():
        if value is None:
            del header[name]
        else:
            header[name] = value
    (path / "zarr.json").write_text(json.dumps(document))


# --- the table itself


@pytest.mark.parametrize("metric", TABLE.values(), ids=lambda metric: metric.name)
def test_every_entry_says_all_there_is_to_say(metric: Metric) -> None:
    assert metric.sums
    assert set(metric.sums) <= set(SUMS)
    for text in (metric.line, metric.unit, metric.reading, metric.evidence):
        assert text == text.strip() != ""
        assert "\n" not in text
        assert not text.endswith(".")
    assert len(metric.line) <= 60  # it has to fit beside a name, in a menu and under a chart


@pytest.mark.parametrize("metric", TABLE.values(), ids=lambda metric: metric.name)
def test_a_metric_needs_the_sums_it_names_and_no_others(metric: Metric) -> None:
    totals = aw.analyze(aw.open_run(weights())).values
    whole = metrics_of(np.array([30, 10]), totals)[metric.name]
    for name in SUMS:
        blank = totals.copy()
        blank[..., SUMS.index(name)] = np.nan

        found = metrics_of(np.array([30, 10]), blank, [metric.name])[metric.name]

        same = np.array_equal(found, whole, equal_nan=True)
        assert same == (name not in metric.sums), f"{metric.name} and {name}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_efficiency_of_straight_lines_is_at_most_1(dtype: torch.dtype) -> None:
    start = torch.randn(37, 53, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = [{"a.weight": (start + step * 0.1 / 3).to(dtype)} for step in range(30)]

    efficiency = metrics_of(np.array([start.numel()]), aw.analyze(states).values)["efficiency"]

    assert efficiency.max() <= 1
    assert efficiency.min() > 0.9


def test_rounded_sums_give_no_efficiency_above_1() -> None:
    totals = aw.analyze(aw.open_run(weights())).values.copy()
    totals[..., SUMS.index("net_sum")] = totals[..., SUMS.index("path_sum")] * (1 + 1e-15)

    assert metrics_of(np.array([30, 10]), totals)["efficiency"].max() == 1


def test_kernels_fill_every_sum() -> None:
    states = [state["a.weight"].clone() for state in weights(2)]
    state, _ = kernels.start_block(states[0])
    state.total += torch.rand(6, 5)

    sums = kernels.measure_step(state, states[1], kernels.Scratch())

    filled = {name for column, name in enumerate(SUMS) if sums[:, column].any()}
    assert filled == set(SUMS) - {"nonfinite"}


def test_every_sum_says_what_it_is_and_how_it_merges() -> None:
    assert len(set(SUMS)) == len(ALL)
    assert all(entry.text for entry in ALL)
    assert {entry.merge for entry in ALL} == set(Merge)


def test_the_page_of_metrics_is_the_table() -> None:
    begin, end = "<!-- accweight metrics --markdown -->\n", "<!-- end -->"

    shown = PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]

    assert shown == table.as_markdown(), "put what `accweight metrics --markdown` prints there"


def test_the_command_lists_every_metric() -> None:
    text, document = accweight("metrics"), accweight("metrics", "--json")

    assert all(name in text.out for name in METRICS)
    assert [row["name"] for row in json.loads(document.out)["metrics"]] == list(METRICS)


# --- what an analysis holds


def test_an_analysis_says_which_sums_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "run.accw"

    stored(path)

    header = json.loads((path / "zarr.json").read_text())["attributes"]["accweight"]
    assert header["sums"] == list(SUMS)
    assert aw.open_analysis(path).metrics == METRICS


def test_an_analysis_that_does_not_say_holds_the_first_sums(tmp_path: Path) -> None:
    before = stored(tmp_path / "run.accw").values
    edited(tmp_path / "run.accw", sums=None)

    opened = aw.open_analysis(tmp_path / "run.accw")

    assert opened.header.sums == FIRST_SUMS
    assert np.array_equal(opened.values, before)


def test_an_analysis_with_fewer_sums_opens_with_the_metrics_it_can_give(tmp_path: Path) -> None:
    path = tmp_path / "run.accw"
    whole = stored(path)
    kept = tuple(name for name in SUMS if name not in ("net_square", "flips"))
    rewritten(path, kept)

    opened = aw.open_analysis(path)

    assert opened.metrics == metrics_from(kept)
    assert {"relative", "rotation", "sign_flips"}.isdisjoint(opened.metrics)
    for name in opened.metrics:
        expected = whole.table()[name]
        assert np.array_equal(opened.table()[name], expected, equal_nan=True)
    assert list(opened.ranking("mean").columns) == [
        "rank",
        "layer",
        "kind",
        "elements",
        *opened.metrics,
    ]
    answer = accweight("rank", path, "--by", "relative")
    assert answer.code == 1
    assert "'relative' needs the sums net_square, reference_square" in answer.err
    answer = accweight("rank", path)
    assert answer.code == 0
    assert "lacks the sums for relative" in " ".join(answer.out.split())


def test_an_analysis_with_more_sums_than_known_opens_too(tmp_path: Path) -> None:
    path = tmp_path / "run.accw"
    whole = stored(path)
    rewritten(path, ("of_the_future", *SUMS))

    opened = aw.open_analysis(path)

    assert opened.metrics == METRICS
    assert np.array_equal(opened.values, whole.values)


def test_sums_in_another_order_are_found_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "run.accw"
    whole = stored(path)
    rewritten(path, SUMS[::-1])

    assert np.array_equal(aw.open_analysis(path).values, whole.values)


def test_an_analysis_goes_on_with_the_sums_it_has(tmp_path: Path) -> None:
    path, states = tmp_path / "run.accw", weights(6)
    aw.analyze(aw.open_run(states[:4]), path, keep_state=True)
    kept = tuple(name for name in SUMS if name != "flips")
    rewritten(path, kept)

    appended = aw.append(aw.open_run(dict(enumerate(states))), path)

    assert appended.header.sums == kept
    assert "sign_flips" not in appended.metrics
    whole = aw.analyze(aw.open_run(states)).table()
    assert np.array_equal(appended.table()["mean"], whole["mean"])


def test_sums_of_a_newer_program_cannot_be_gone_on_with(tmp_path: Path) -> None:
    path, states = tmp_path / "run.accw", weights(6)
    aw.analyze(aw.open_run(states[:4]), path, keep_state=True)
    rewritten(path, (*SUMS, "of_the_future"))

    with pytest.raises(StoreError, match=r"newer accweight \(of_the_future\)"):
        aw.append(aw.open_run(dict(enumerate(states))), path)

    assert aw.open_analysis(path).steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("sums", [[], ["path_sum", "path_sum"], [1, 2], "path_sum", 7, {"a": 1}])
def test_sums_that_are_no_names_are_a_damaged_header(tmp_path: Path, sums: object) -> None:
    stored(tmp_path / "run.accw")
    edited(tmp_path / "run.accw", sums=sums)

    with pytest.raises(StoreError, match="damaged"):
        _ = aw.open_analysis(tmp_path / "run.accw").values


def test_what_an_analysis_cannot_give_is_told_from_what_no_one_knows() -> None:
    with pytest.raises(UnknownNameError, match="no metric is called 'speed'"):
        checked_metric("speed", ["mean"])
    with pytest.raises(UnknownNameError, match="choose one of mean, or analyse the run again"):
        checked_metric("relative", ["mean"])


def rewritten(path: Path, sums: tuple[str, ...]) -> None:
    """Lay the numbers of a stored analysis out under other columns, as another version would."""
    values = aw.open_analysis(path).values
    columns = [
        values[..., SUMS.index(name)] if name in SUMS else np.full(values.shape[:2], 0.5)
        for name in sums
    ]
    held = np.ascontiguousarray(np.stack(columns, axis=-1))
    shutil.rmtree(path / "totals")
    array = ChunkedArray(path / "totals", held.shape, held.shape, "float64").create()
    array.write((0, 0, 0), held)
    edited(path, sums=list(sums))
