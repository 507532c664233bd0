"""Averaged copies (ema), in checkpoints or beside them: series of their own, never the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import small, write_safetensors

import accweight_core as aw
from accweight_core.cli.app import run as command
from accweight_core.errors import MismatchError, SeveralSeriesError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey

Saver = Callable[[Path, float, float], None]


def _nested(path: Path, value: float, average: float) -> None:
    torch.save({"model": small(value), "ema": small(average)}, f"{path}.pt")


def _flat(path: Path, value: float, average: float) -> None:
    ema = {f"ema.{name}": tensor for name, tensor in small(average).items()}
    torch.save({**small(value), **ema}, f"{path}.pt")


def _without_dots(path: Path, value: float, average: float) -> None:
    model = {f"model.{name}": tensor for name, tensor in small(value).items()}
    ema = {f"ema.{name.replace('.', '')}": tensor for name, tensor in small(average).items()}
    write_safetensors(Path(f"{path}.safetensors"), {**model, **ema})


SAVERS: dict[str, Saver] = {"nested": _nested, "flat": _flat, "without dots": _without_dots}


def write(folder: Path, save: Saver = _nested, stem: str = "epoch", start: int = 0) -> Path:
    """Write three checkpoints whose weights move by 1 a step, and their averages by 0.5."""
    folder.mkdir(exist_ok=True)
    for number in (1, 2, 3):
        save(folder / f"{stem}_{number}", start + number, start + 10 + number / 2)
    return folder


@pytest.mark.parametrize("name", SAVERS)
def test_an_average_in_the_checkpoints_is_a_series_that_can_be_analysed(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path / "runs", SAVERS[name])

    found = {series.name: series.averaged_of for series in aw.series_of(tmp_path / "runs")}
    run = aw.open_run(tmp_path / "runs")
    average = aw.open_run(tmp_path / "runs", series="ema")

    assert found == {"epoch": "", "ema": "epoch"}
    assert [p.name for p in average.parameters] == [p.name for p in run.parameters]
    assert [c.step for c in average.checkpoints] == [1, 2, 3]
    assert aw.analyze(run).ranking()["mean"].tolist() == [2]
    assert aw.analyze(average).ranking()["mean"].tolist() == [1]


def test_notes_say_which_of_both_is_taken(tmp_path: Path) -> None:
    write(tmp_path)

    run, average = aw.open_run(tmp_path), aw.open_run(tmp_path, series="ema")

    assert run.notes == ("3 checkpoints: left out 'ema': an averaged copy beside the model itself",)
    assert average.notes == (
        "3 checkpoints: the averaged copy 'ema' is taken, not the model itself",
    )


def test_averages_are_in_the_order_of_their_names_and_no_note_says_they_are_left_out(
    tmp_path: Path,
) -> None:
    names = ("ema_10", "ema_2", "ema_1", "ema_3")
    for number in (1, 2):
        averages = {name: small(10.0 + number) for name in names}
        torch.save({"model": small(number), **averages}, tmp_path / f"epoch_{number}.pt")

    found = [series.name for series in aw.series_of(tmp_path)]
    average = aw.open_run(tmp_path, series="ema_3")

    assert found == ["epoch", "ema_1", "ema_2", "ema_3", "ema_10"]
    assert average.notes == (
        "2 checkpoints: the averaged copy 'ema_3' is taken, not the model itself",
    )


@pytest.mark.parametrize("source", ["{}", "{}/*.pt"])
def test_nobody_has_to_choose_between_a_model_and_its_average(tmp_path: Path, source: str) -> None:
    write(tmp_path)

    opened = survey(source.format(tmp_path))

    assert [c.copy for c in opened.checkpoints] == ["", "", ""]
    assert opened.warnings == ()


def test_one_checkpoint_with_an_average_is_the_run(tmp_path: Path) -> None:
    _nested(tmp_path / "epoch_1", 1, 2)

    result = inspected(tmp_path)

    assert result.run is not None
    assert result.run.averaged_of == ""
    assert [series.averaged_of for series in result.series] == ["", result.run.name]


def test_averages_of_two_runs_have_their_names_before_them(tmp_path: Path) -> None:
    write(tmp_path, stem="A")
    write(tmp_path, stem="B", start=5)

    assert [series.name for series in aw.series_of(tmp_path)] == ["A", "A/ema", "B", "B/ema"]
    with pytest.raises(SeveralSeriesError) as caught:
        survey(tmp_path)
    assert "2 series of checkpoints" in str(caught.value)


def test_checkpoints_before_the_average_began_are_not_in_it(tmp_path: Path) -> None:
    write(tmp_path)
    torch.save({"model": small(0)}, tmp_path / "epoch_0.pt")

    assert list(aw.open_run(tmp_path).steps) == [0, 1, 2, 3]
    assert list(aw.open_run(tmp_path, series="ema").steps) == [1, 2, 3]


def test_a_stored_analysis_of_an_average_reads_it_again(tmp_path: Path) -> None:
    runs = write(tmp_path / "runs")
    aw.analyze(aw.open_run(runs, series="ema"), tmp_path / "ema.accw")
    aw.analyze(aw.open_run(runs), tmp_path / "run.accw")

    stored = aw.open_analysis(tmp_path / "ema.accw")

    np.testing.assert_array_equal(stored.cumulative("fc.weight"), np.ones((3, 4)))
    assert [c.copy for c in stored.header.checkpoints] == ["ema"] * 3
    document = json.loads((tmp_path / "run.accw" / "zarr.json").read_text())
    assert "copy" not in _checkpoints(document)[0]


def _checkpoints(document: Any) -> list[dict[str, Any]]:
    """Return the records of checkpoints, wherever they are in a document."""
    if isinstance(document, dict):
        if "checkpoints" in document:
            return list(document["checkpoints"])
        document = list(document.values())
    inner = [_checkpoints(one) for one in document] if isinstance(document, list) else []
    return next(filter(None, inner), [])


def test_appending_goes_on_with_the_average(tmp_path: Path) -> None:
    runs = write(tmp_path / "runs")
    out = tmp_path / "ema.accw"
    aw.analyze(aw.open_run(runs, series="ema"), out, keep_state=True)
    _nested(runs / "epoch_4", 4, 12)

    with pytest.raises(MismatchError, match="the analysis is of the averaged copy 'ema'"):
        aw.append(aw.open_run(runs), out)
    analysis = aw.append(runs, out)

    assert [c.copy for c in analysis.header.checkpoints] == ["ema"] * 4
    assert analysis.ranking()["mean"].tolist() == [1.5]


def test_inspect_and_all_list_averages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = write(tmp_path / "runs")

    assert command(["inspect", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "2 series of checkpoints; analyze takes epoch" in out
    assert "epoch_N.pt (averaged copies in epoch)" in out

    assert command(["analyze", str(runs), "--all", "-o", str(tmp_path / "all"), "--json"]) == 0
    analyses = json.loads(capsys.readouterr().out)["analyses"]
    assert [one["series"] for one in analyses] == ["epoch", "ema"]


BESIDE = {
    "model_{}.pt": "model_{}_ema.pt",
    "model{}.pt": "ema_0.9999_{}.pt",
    "epoch_{}.pt": "ema_{}.pt",
    "{}.pt": "ema/{}.pt",
    "net/epoch_{}.pt": "net_ema/epoch_{}.pt",
    "G_{}.pt": "G-EMA_{}.pt",
}


def write_beside(folder: Path, model: str, average: str, start: int = 0) -> None:
    """Write three checkpoints and, in files of their own, averages of the last two."""
    for number in (1, 2, 3):
        for name, value in ((model, start + number), (average, start + 10 + number / 2)):
            if number > 1 or name == model:
                path = folder / name.format(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save(small(value), path)


@pytest.mark.parametrize(("model", "average"), BESIDE.items())
def test_averages_in_files_beside_the_model_are_not_the_run(
    tmp_path: Path, model: str, average: str
) -> None:
    write_beside(tmp_path, model, average)

    first, second = aw.series_of(tmp_path)
    run, averages = aw.open_run(tmp_path), aw.open_run(tmp_path, series=second.name)

    assert (first.averaged_of, second.averaged_of) == ("", first.name)
    assert (list(run.steps), list(averages.steps)) == ([1, 2, 3], [2, 3])
    note = f"series {second.name} (2 checkpoints, steps 2 to 3, {average.format(2)}) left out: "
    assert run.notes == (
        note + f"averaged copies of {first.name}, by its name; take it with --series NAME",
    )
    assert averages.notes == ()


def test_each_of_two_models_has_its_average(tmp_path: Path) -> None:
    write_beside(tmp_path, "G_{}.pt", "G_ema_{}.pt")
    write_beside(tmp_path, "D_{}.pt", "D_ema_{}.pt", start=5)

    found = {series.name: series.averaged_of for series in aw.series_of(tmp_path)}

    assert found == {"D": "", "D_ema": "D", "G": "", "G_ema": "G"}
    with pytest.raises(SeveralSeriesError, match=r"2 series of .*: D \(.*; G \("):
        aw.open_run(tmp_path)


@pytest.mark.parametrize("other", ["other_{}.pt", "shapes"])
def test_whose_average_it_is_has_to_be_plain(tmp_path: Path, other: str) -> None:
    for number in (1, 2, 3):
        torch.save(small(number), tmp_path / f"model{number}.pt")
        average = small(number / 2) if other != "shapes" else {"fc.weight": torch.ones(number, 7)}
        torch.save(average, tmp_path / f"ema_{number}.pt")
        if other != "shapes":
            torch.save(small(-number), tmp_path / other.format(number))

    with pytest.raises(SeveralSeriesError, match="ema"):
        aw.open_run(tmp_path)


def test_the_only_series_is_the_run_even_if_it_is_called_an_average(tmp_path: Path) -> None:
    write_beside(tmp_path, "ema_{}.pt", "ema_{}.pt")

    assert list(aw.open_run(tmp_path).steps) == [1, 2, 3]


def test_inspect_says_whose_averages_lie_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_beside(tmp_path, "model_{}.pt", "model_{}_ema.pt")

    assert command(["inspect", str(tmp_path)]) == 0

    assert "model_N_ema.pt (averaged copies of model)" in capsys.readouterr().out
