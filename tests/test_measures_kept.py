"""Measures of the training on their way: into runs, analyses and the tables of `inspect`."""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import small
from test_cli import accweight, widest
from test_store import edited

import accweight_core as aw
from accweight_core.analysis.export import export
from accweight_core.analysis.reopen import reopened
from accweight_core.analysis.training_figures import figures_not_finite
from accweight_core.errors import StoreError
from accweight_core.schema import figures_from
from accweight_core.store.records import CheckpointRecord

BESIDE: list[dict[str, Any]] = [
    {"loss": 2.5},
    {"loss": 1.5, "metrics": {"acc": 0.5}},
    {"loss": math.nan, "metrics": {"acc": 0.75}},
]


def written(folder: Path, beside: list[dict[str, Any]]) -> Path:
    """Write a small checkpoint per mapping of what lies beside the weights."""
    folder.mkdir(exist_ok=True)
    for step, extra in enumerate(beside):
        content = {"epoch": step, **extra, "model_state_dict": small(step / 4)}
        torch.save(content, folder / f"epoch_{step}.pt")
    return folder


def table_in(out: str) -> list[str]:
    """Return what `inspect` prints from the head of its table on."""
    lines = out.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("step ")) :]


# Runs and analyses


def test_an_analysis_keeps_the_measures_of_every_step(tmp_path: Path) -> None:
    run = aw.open_run(written(tmp_path / "run", BESIDE))
    made = aw.analyze(run, tmp_path / "a.accw")

    header = aw.open_analysis(tmp_path / "a.accw").header

    assert [dict(c.measures) for c in run.checkpoints] == [
        {"loss": 2.5},
        {"loss": 1.5, "metrics.acc": 0.5},
        {"metrics.acc": 0.75},
    ]
    assert header == made.header
    assert list(header.measures) == ["loss", "metrics.acc"]
    np.testing.assert_array_equal(header.measures["loss"], [2.5, 1.5, np.nan])
    np.testing.assert_array_equal(header.measures["metrics.acc"], [np.nan, 0.5, 0.75])
    assert all(values.dtype == np.float64 for values in header.measures.values())
    assert [c.measures for c in reopened(header).checkpoints] == [
        c.measures for c in run.checkpoints
    ]
    assert [dict(c.nonfinite_measures) for c in header.checkpoints] == [{}, {}, {"loss": "nan"}]


def test_a_loss_that_is_not_finite_is_found_by_check_and_advise(tmp_path: Path) -> None:
    aw.analyze(aw.open_run(written(tmp_path / "run", BESIDE)), tmp_path / "a.accw")

    checked = accweight("check", tmp_path / "a.accw", "--json")
    advised = accweight("advise", tmp_path / "a.accw").out

    (found,) = [f for f in checked.document["findings"] if f["kind"] == "nonfinite_figure"]
    assert (checked.code, found["step"], found["wrong"]) == (1, 2, True)
    assert found["text"] == "loss is nan at step 2"
    assert "loss is nan at step 2" in advised


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_of_many_figures_are_added_at_once(tmp_path: Path, ending: str) -> None:
    beside = [{"metrics": {f"loss_{step}_{n}": 0.5 for n in range(60)}} for step in range(3)]
    made = aw.analyze(aw.open_run(written(tmp_path / "run", beside)), tmp_path / "a.accw")

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pandas warns of columns that are added one by one
        export(made, tmp_path / f"a.{ending}", ending)


def test_figures_of_a_checkpoint_are_read_once_however_many_are_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = [{"metrics": {f"loss_{n}": math.nan for n in range(9)}} for _ in range(2)]
    header = aw.analyze(aw.open_run(written(tmp_path / "run", beside))).header
    reads: list[int] = []

    def read(record: CheckpointRecord) -> dict[str, float]:
        reads.append(record.step)
        return figures_from(record.measures, record.nonfinite_measures)

    monkeypatch.setattr(CheckpointRecord, "figures", property(read))

    found = list(figures_not_finite(header))

    assert len(found) == 9
    assert reads == [0, 1]


@pytest.mark.parametrize(
    ("name", "is_wrong"), [("loss", True), ("grad_norm", False), ("best_loss", None)]
)
def test_a_figure_that_may_be_infinite_is_no_fault(
    tmp_path: Path, name: str, is_wrong: bool | None
) -> None:
    analysis = aw.analyze(aw.open_run(written(tmp_path / "run", [{name: math.inf}, {name: 1.0}])))

    found = [f for f in aw.check(analysis).findings if f.kind == "nonfinite_figure"]

    assert [f.is_wrong for f in found] == ([] if is_wrong is None else [is_wrong])


def test_a_figure_that_is_often_not_finite_is_told_once(tmp_path: Path) -> None:
    beside = [{"loss": 1.0}, {"loss": math.inf}, {}, {"loss": math.nan}]
    analysis = aw.analyze(aw.open_run(written(tmp_path / "run", beside)))

    (found,) = [f for f in aw.check(analysis).findings if f.kind == "nonfinite_figure"]

    assert found.text == "loss is inf at step 1, and not finite at 2 of the 3 steps that have it"


def test_a_run_without_measures_has_none(tmp_path: Path) -> None:
    analysis = aw.analyze(aw.open_run(written(tmp_path / "run", [{}, {}])))

    assert analysis.header.measures == {}


def test_measures_are_appended_with_their_checkpoints(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", BESIDE)
    first = [folder / "epoch_0.pt", folder / "epoch_1.pt"]
    aw.analyze(aw.open_run(first), tmp_path / "a.accw", keep_state=True)

    grown = aw.append(aw.open_run(folder), tmp_path / "a.accw")

    np.testing.assert_array_equal(grown.header.measures["metrics.acc"], [np.nan, 0.5, 0.75])


def test_an_analysis_made_before_there_were_measures_is_opened_and_is_the_same_work(
    tmp_path: Path,
) -> None:
    run = aw.open_run(written(tmp_path / "run", BESIDE))
    aw.analyze(run, tmp_path / "a.accw")
    edited(
        tmp_path / "a.accw",
        lambda a: [
            c.pop(name, None)
            for c in a["accweight"]["checkpoints"]
            for name in ("measures", "nonfinite_measures")
        ],
    )

    opened = aw.analyze(run, tmp_path / "a.accw")

    assert opened.header.measures == {}
    assert len(opened.ranking()) == 1


@pytest.mark.parametrize(
    "measures",
    [{"loss": "0.5"}, {"loss": None}, {"loss": True}, {"loss": [1]}, {"loss": 10**400},
     {"loss": math.inf}, [], 5, None],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_measures_that_are_no_numbers_are_a_damaged_analysis(
    tmp_path: Path, measures: object
) -> None:
    aw.analyze(aw.open_run(written(tmp_path / "run", BESIDE)), tmp_path / "a.accw")
    edited(
        tmp_path / "a.accw",
        lambda a: a["accweight"]["checkpoints"][0].update(measures=measures),
    )

    with pytest.raises(StoreError, match=r"a.accw: .*damaged") as caught:
        aw.open_analysis(tmp_path / "a.accw")

    assert "\n" not in str(caught.value)


# inspect


def test_inspect_shows_measures_beside_the_checkpoints(tmp_path: Path) -> None:
    folder = written(tmp_path, BESIDE)

    head, *rows = table_in(accweight("inspect", folder).out)[:4]

    assert head.split() == ["step", "from", "size", "checkpoint", "loss", "acc"]
    assert [row.split()[-2:] for row in rows] == [["2.5", "-"], ["1.5", "0.5"], ["nan", "0.75"]]


def test_inspect_prints_measures_as_part_of_the_document(tmp_path: Path) -> None:
    document = accweight("inspect", written(tmp_path, BESIDE), "--json").document

    assert [c["measures"] for c in document["checkpoints"]] == [
        {"loss": 2.5},
        {"loss": 1.5, "metrics.acc": 0.5},
        {"metrics.acc": 0.75},
    ]
    assert [c["nonfinite_measures"] for c in document["checkpoints"]] == [{}, {}, {"loss": "nan"}]


def test_measures_that_do_not_fit_beside_the_checkpoints_are_named_below(tmp_path: Path) -> None:
    names = [f"validation_accuracy_{letter}" for letter in "abc"]
    beside = {**dict.fromkeys(names, 0.5), "a": {"loss": 1.0}, "b": {"loss": 2.0}}

    out = accweight("inspect", written(tmp_path, [beside, beside])).out

    lines = table_in(out)
    assert widest(out) <= 80
    assert lines[0].split() == ["step", "from", "size", "checkpoint", names[0], "a.loss", "b.loss"]
    assert lines[3].rstrip() == f"more with --json: {names[1]}, {names[2]}"


def test_names_of_measures_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    answer = accweight("inspect", written(tmp_path, [{"[red]loss": 1.0}, {"loss [/]": 1.0}]))

    assert answer.code == 0
    assert "[red]loss" in answer.out


def test_leaving_copies_out_keeps_the_measures_of_what_is_kept(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", BESIDE)
    shutil.copy(folder / "epoch_1.pt", folder / "best.pt")

    run = aw.open_run(folder)

    assert [dict(c.measures) for c in run.checkpoints][1] == {"loss": 1.5, "metrics.acc": 0.5}
