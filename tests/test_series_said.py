"""What is said about series: by the command, errors and Python; which of two copies is the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoints import small

import accweight_core as aw
from accweight_core.cli.app import run as command
from accweight_core.errors import MismatchError, SeveralSeriesError, SourceError, StepOrderError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey


def write(folder: Path, names: list[str], start: float = 0) -> Path:
    """Write checkpoints that differ; the same names and start have the same weights."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(small(start + number), folder / name)
    return folder


TWO = ["A_1.pt", "A_2.pt", "B_1.pt", "B_2.pt"]


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = command([str(argument) for argument in arguments])
    answer = capsys.readouterr()
    return code, answer.out, answer.err


# Copies of whole series


@pytest.mark.parametrize(
    ("run", "copy"),
    [("", "backup/"), ("", "a/"), ("run/", "a/old/"), ("x/", "backup/"), ("x/", "a_copy/")],
)
def test_the_nearer_of_two_copies_is_the_run(tmp_path: Path, run: str, copy: str) -> None:
    for place in (run, copy):
        write(tmp_path, [f"{place}epoch_{n}.pt" for n in (1, 2)])

    found = inspected(tmp_path).run

    assert found is not None
    assert found.first == f"{run}epoch_1.pt"


def test_all_says_which_copies_and_single_checkpoints_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for start, run in ((0, "a"), (0, "b"), (5, "c")):
        write(tmp_path / "runs", [f"{run}/epoch_{n}.pt" for n in (1, 2)], start)
    torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "runs" / "other.pt")

    code, out, err = printed(
        capsys, "analyze", tmp_path / "runs", "--all", "-o", tmp_path / "out", "--json"
    )

    assert code == 0
    assert [one["series"] for one in json.loads(out)["analyses"]] == ["a", "c"]
    assert "series b (2 checkpoints, steps 1 to 2, b/epoch_1.pt) left out: same weights as a" in err
    assert "single checkpoints left out: other (1 checkpoint, step 0, other.pt)" in err


# Errors of the command and of Python


def test_single_checkpoints_are_not_sent_to_options_that_do_not_help(tmp_path: Path) -> None:
    write(tmp_path, ["seed1.pt", "seed2.pt"])

    with pytest.raises(SeveralSeriesError) as caught:
        survey(tmp_path)

    assert "2 single checkpoints, which are not one run" in str(caught.value)
    assert "--all" not in str(caught.value)
    assert "inspect one with --series NAME, or name the files of one run" in str(caught.value)


def test_errors_in_python_name_arguments_of_python(tmp_path: Path) -> None:
    write(tmp_path / "two", TWO)
    write(tmp_path / "seeds", ["seed1.pt", "seed2.pt"])
    write(tmp_path / "stepless", ["epoch_1.pt", "epoch_2.pt", "best.pt"])
    write(tmp_path / "shapes", ["epoch_1.pt"])
    torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "shapes" / "epoch_2.pt")
    told = {
        "two": (SeveralSeriesError, "open_run(SOURCE, series=NAME)"),
        "seeds": (SeveralSeriesError, "in order with in_given_order=True"),
        "stepless/*.pt": (StepOrderError, "exclude=['best.pt']"),
        "shapes": (MismatchError, "group='1'"),
    }

    for source, (kind, hint) in told.items():
        with pytest.raises(kind) as caught:
            aw.open_run(f"{tmp_path}/{source}")
        assert hint in str(caught.value)
        assert " --" not in str(caught.value).replace("inspect SOURCE --write-map FILE", "")


def test_analysing_a_source_in_python_hints_at_python(tmp_path: Path) -> None:
    with pytest.raises(SeveralSeriesError, match=r"open_run\(SOURCE, series=NAME\)"):
        aw.analyze(write(tmp_path, TWO))


# Series in Python


def test_a_series_is_given_as_itself_or_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, TWO)

    for series in aw.series_of(tmp_path):
        for given in (series, series.name):
            run = aw.open_run(tmp_path, series=given)
            assert {Path(c.path).name[0] for c in run.checkpoints} == {series.name}
    with pytest.raises(TypeError, match="a series is a Series or its name, got int"):
        aw.open_run(tmp_path, series=3)  # type: ignore[arg-type]


def test_a_series_tells_its_steps_as_numbers_and_itself_in_one_line(tmp_path: Path) -> None:
    (series,) = aw.series_of(write(tmp_path, ["epoch_5.pt", "epoch_10.pt"]))

    assert series.steps == (5, 10)
    assert repr(series) == "<Series epoch: 2 checkpoints, steps 5 to 10, epoch_N.pt>"


# What inspect prints


def test_the_document_of_several_series_has_layers_in_each_alone(tmp_path: Path) -> None:
    document = inspected(write(tmp_path, TWO)).to_json()

    assert document["run"] is None
    assert document["checkpoints"] == document["groups"] == document["layers"] == []
    assert [layer["name"] for layer in document["series"][0]["layers"]] == ["fc"]


def test_one_checkpoint_is_said_in_the_singular(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = printed(capsys, "inspect", write(tmp_path, ["epoch_1.pt"]))

    assert out.startswith(f"{tmp_path}: torch zip, 1 checkpoint\n")


def test_single_checkpoints_are_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = printed(capsys, "inspect", write(tmp_path, ["seed1.pt", "seed2.pt"]))

    assert out.startswith(
        f"{tmp_path}: 2 single checkpoints; name those of one run in order with --given-order\n"
    )


def test_files_of_one_name_are_counted_in_notes(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path, [f"epoch_{number}/model.pt"], number)
        torch.save({"state": {}}, tmp_path / f"epoch_{number}" / "optim.pt")

    assert survey(tmp_path).notes == ("left out, not weights: 3 x optim.pt",)


def test_an_empty_folder_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()

    with pytest.raises(SourceError, match=r"no checkpoints found; .*; there are no files there$"):
        survey(tmp_path)
