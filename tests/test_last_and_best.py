"""Checkpoints called best, last and final, whose counters were reset or belong to another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import small
from named_files import left_out, series_of, steps, warnings

from accweight_core.errors import StepOrderError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey
from accweight_core.runs.selection import Selection

EPOCHS = {"epoch1.pt": 1, "epoch2.pt": 2, "epoch3.pt": 3}
"""A run, with the steps in its files."""


def inside(**more: int) -> dict[str, tuple[int, str]]:
    """Return the epochs in the files of the run and of others, by name without its ending."""
    told = EPOCHS | {f"{name}.pt": epoch for name, epoch in more.items()}
    return {name: (epoch, "epoch") for name, epoch in told.items()}


@pytest.mark.parametrize(
    "reset",
    [
        {"last": -1},
        {"best": -1},
        {"best": -1, "last": -1},
        {"best": -1, "last": -2},
        {"final": 0},
        {"final": 1},
        {"last": 2},
        {"best": 0},
        {"model_latest": 0},
        {"finished": 0},
    ],
    ids=str,
)
def test_a_counter_that_was_reset_is_no_step(reset: dict[str, int]) -> None:
    told = inside(**reset)

    assert steps([*told], inside=told) == EPOCHS
    assert left_out([*told], inside=told) == {f"{name}.pt": "no step" for name in reset}


@pytest.mark.parametrize("name", ["final_epoch_0.pt", "last-epoch=1.pt", "best_epoch_0.pt"])
def test_a_step_in_the_name_of_the_last_one_that_cannot_be_is_none(name: str) -> None:
    epochs = {"epoch_1.pt": 1, "epoch_2.pt": 2, "epoch_3.pt": 3}

    assert steps([name, *epochs]) == epochs
    assert left_out([name, *epochs]) == {name: "no step"}


def test_a_reset_counter_does_not_put_the_last_of_two_files_first() -> None:
    told = {"first.pt": (5, "epoch"), "last.pt": (0, "epoch")}

    assert steps([*told], inside=told) == {"first.pt": 0, "last.pt": 1}


def test_a_final_file_among_files_without_a_common_name_does_not_come_first() -> None:
    told = {"a.pt": (1, "epoch"), "b.pt": (2, "epoch"), "final.pt": (0, "epoch")}

    assert steps([*told], inside=told) == {"a.pt": 1, "b.pt": 2}


def test_the_last_one_with_the_highest_counter_is_the_last_one() -> None:
    told = inside(last=4, best=2)
    told["best.pt"] = (2, "epoch")

    assert steps([*told], inside=told) == EPOCHS | {"last.pt": 4}


@pytest.mark.parametrize("epoch", [-1, 0, 2, 3, 9])
def test_the_best_is_a_copy_if_its_weights_are_whatever_its_counter_says(epoch: int) -> None:
    told = inside(best=epoch)

    rows = left_out([*told], inside=told, values={"epoch2.pt": 7, "best.pt": 7})

    assert rows == {"best.pt": "same weights as epoch2.pt"}


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "best/model.pt"])
def test_the_best_with_the_step_of_another_one_is_left_out(name: str) -> None:
    epochs = {f"epoch_{n}/model.pt" if "/" in name else f"epoch_{n}.pt": n for n in (1, 2, 3)}
    told = {file: (epoch, "epoch") for file, epoch in (epochs | {name: 3}).items()}

    (series,) = series_of([*told], inside=told)

    assert [place.step for place in series.placed] == [1, 2, 3]
    assert series.clash == ""
    assert "claims step 3 as" in series.left_out[0].reason
    assert "--given-order" in series.left_out[0].reason


def test_analyze_takes_what_inspect_shows_beside_one_special_file(tmp_path: Path) -> None:
    for name, epoch in (("epoch1", 1), ("epoch2", 2), ("last", 2), ("best", -1)):
        torch.save({"model": small(epoch + len(name)), "epoch": epoch}, tmp_path / f"{name}.pt")

    result, opened = inspected(tmp_path), survey(tmp_path)

    assert result.opened.warnings == opened.warnings == ()
    assert [c.step for c in result.opened.checkpoints] == [1, 2]
    assert [c.step for c in opened.checkpoints] == [1, 2]
    assert {one.path.name for one in result.left_out} == {"last.pt", "best.pt"}


def test_files_named_in_order_are_taken_even_if_they_are_copies(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2), ("best", 2)):
        torch.save(small(value), tmp_path / f"{name}.pt")
    given = [tmp_path / f"{name}.pt" for name in ("a", "b", "best")]

    opened = survey(given, Selection.of(in_given_order=True))

    assert [Path(c.path).name for c in opened.checkpoints] == ["a.pt", "b.pt", "best.pt"]


def test_a_best_file_that_the_user_named_is_refused_if_its_step_is_taken(tmp_path: Path) -> None:
    for name, epoch in (("epoch1", 1), ("epoch2", 2), ("best", 2)):
        torch.save({"model": small(epoch + len(name)), "epoch": epoch}, tmp_path / f"{name}.pt")

    with pytest.raises(StepOrderError, match="two different checkpoints claim step 2"):
        survey(f"{tmp_path}/*.pt")


@pytest.mark.parametrize(
    "name", ["epoch_2 (1).pt", "epoch_2 - Copy.pt", "Copy of epoch_2.pt", "backup_epoch_2.pt",
             "epoch_2_bak.pt", "epoch_2.old.pt"]
)  # fmt: skip
def test_duplicates_of_a_file_never_take_its_place(name: str) -> None:
    names = [name, "epoch_1.pt", "epoch_2.pt"]

    assert steps(names) == {"epoch_1.pt": 1, "epoch_2.pt": 2}
    assert left_out(names)[name].startswith("claims step 2 as epoch_2.pt does, with other weights;")
    same = {"epoch_2.pt": 1.0, name: 1.0}
    assert left_out(names, values=same) == {name: "same weights as epoch_2.pt"}
    assert steps([name, "epoch_1.pt", "epoch_3.pt"]) == {"epoch_1.pt": 1, name: 2, "epoch_3.pt": 3}


@pytest.mark.parametrize("name", ["ema_epoch_{}.pt", "swa_epoch_{}.pt", "epoch_{}_avg.pt"])
def test_an_average_beside_a_series_has_no_place_in_it(name: str) -> None:
    for step in (2, 3):
        own = name.format(step)
        assert list(steps([own, "epoch_1.pt", "epoch_2.pt"])) == ["epoch_1.pt", "epoch_2.pt"]
        assert left_out([own, "epoch_1.pt", "epoch_2.pt"])[own].startswith("an average by its name")


def test_versions_of_one_file_come_in_their_order() -> None:
    names = ["model-v1.ckpt", "model-v2.ckpt", "model-v10.ckpt", "model.ckpt"]

    assert list(steps(names)) == ["model.ckpt", *names[:-1]]
    assert warnings(names)[0].startswith("the order of the checkpoints is the alphabetical order")


def test_names_of_the_first_and_the_last_come_so_where_the_alphabet_orders_the_others() -> None:
    names = ["zz_init.pt", "run_x.pt", "run_y.pt", "a_last.pt"]

    (series,) = series_of(sorted(names))

    assert [p.found.path.name for p in series.placed] == names
    assert len(series.order.warnings) == 1
