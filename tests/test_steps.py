"""Which checkpoint comes first: steps in files, in paths, in the order of names."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import small, write_small_run

from accweight_core.errors import StepOrderError
from accweight_core.runs.found import Found
from accweight_core.runs.opening import Opened, survey
from accweight_core.runs.selection import Selection
from accweight_core.runs.step_order import order_of
from accweight_core.schema import Description


def saved(
    folder: Path, files: dict[str, float], inside: Sequence[dict[str, Any]] | None = None
) -> Path:
    """Write a checkpoint per name, moved by its value, with what `inside` puts beside it."""
    for index, (name, value) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = inside[index] if inside else {}
        torch.save({"state_dict": small(value), **beside}, path)
    return folder


def order(opened: Opened, folder: Path) -> dict[str, int]:
    """Return the step of every file, in step order."""
    return {os.path.relpath(c.path, folder): c.step for c in opened.checkpoints}


def origins(opened: Opened) -> set[str]:
    return {checkpoint.step_source for checkpoint in opened.checkpoints}


@pytest.mark.parametrize(
    ("names", "steps", "origin"),
    [
        (["epoch_10.pt", "epoch_2.pt", "epoch_1.pt"], [10, 2, 1], "in name: epoch"),
        (["epoch=3-step=900.ckpt", "epoch=0-step=300.ckpt"], [900, 300], "in name: step"),
        (["epoch=03-val_loss=0.12.ckpt", "epoch=12-val_loss=0.05.ckpt"], [3, 12], "in name: epoch"),
        (["checkpoint-500/model.bin", "checkpoint-1500/model.bin"], [500, 1500],
         "in name: checkpoint"),
        (["ckpt_10.pt", "ckpt_9.pt", "ckpt_100.pt"], [10, 9, 100], "in name: ckpt"),
        (["iter_0100.pt", "iter_1000.pt", "iter_0200.pt"], [100, 1000, 200], "in name: iter"),
        (["global_step100/mp_rank_00.pt", "global_step20/mp_rank_00.pt"], [100, 20],
         "in name: global_step"),
        (["Epoch-1.PT", "Epoch-2.PT"], [1, 2], "in name: epoch"),
        (["epoch_1/model.pt", "epoch_2/model.pt", "epoch_10/model.pt"], [1, 2, 10],
         "in name: epoch"),
        (["1.pt", "2.pt", "10.pt"], [1, 2, 10], "number in name"),
        (["model.0010.pt", "model.0002.pt"], [10, 2], "number in name"),
        (["resnet50_10.pt", "resnet50_9.pt"], [10, 9], "number in name"),
        (["net_3_of_5.pt", "net_1_of_5.pt"], [3, 1], "number in name"),
    ],
)  # fmt: skip
def test_steps_are_read_from_paths(
    tmp_path: Path, names: list[str], steps: list[int], origin: str
) -> None:
    saved(tmp_path, {name: step for name, step in zip(names, steps, strict=True)})

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == dict(
        sorted(zip(names, steps, strict=True), key=lambda p: p[1])
    )
    assert [c.step for c in opened.checkpoints] == sorted(steps)
    assert origins(opened) == {origin}


def test_the_step_inside_the_file_counts_more_than_its_name(tmp_path: Path) -> None:
    saved(tmp_path, {"epoch_1.pt": 0, "epoch_2.pt": 1}, [{"epoch": 7}, {"epoch": 3}])

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"epoch_2.pt": 3, "epoch_1.pt": 7}
    assert origins(opened) == {"in file: epoch"}


def test_the_finer_clock_inside_the_file_counts(tmp_path: Path) -> None:
    inside = [{"epoch": 1, "global_step": 100}, {"epoch": 1, "global_step": 150}]
    saved(tmp_path, {"a.ckpt": 0, "b.ckpt": 1}, inside)

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"a.ckpt": 100, "b.ckpt": 150}
    assert origins(opened) == {"in file: global_step"}


@pytest.mark.parametrize(
    "inside",
    [
        [{"epoch": 0}, {"epoch": 0}, {"epoch": 0}],
        [{"epoch": 1}, {}, {"epoch": 3}],
        [{"epoch": 1}, {"global_step": 20}, {"epoch": 3}],
        [{"epoch": 0.5}, {"epoch": 1.0}, {"epoch": 1.5}],
        [{"epoch": True}, {"epoch": False}, {"epoch": True}],
        [{"epoch": "1"}, {"epoch": "2"}, {"epoch": "3"}],
    ],
    ids=["constant", "missing in one", "two clocks", "fractions", "booleans", "text"],
)
def test_numbers_inside_that_cannot_order_give_way_to_names(
    tmp_path: Path, inside: list[dict[str, Any]]
) -> None:
    saved(tmp_path, {"epoch_5.pt": 0, "epoch_6.pt": 1, "epoch_10.pt": 2}, inside)

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [5, 6, 10]
    assert origins(opened) == {"in name: epoch"}


def test_a_constant_number_inside_a_folder_called_best_gives_way_to_names(tmp_path: Path) -> None:
    names = [f"best_run/epoch_{n}.pt" for n in (1, 2, 3)]
    saved(tmp_path, dict.fromkeys(names, 0.0) | {names[1]: 1, names[2]: 2}, [{"epoch": 0}] * 3)

    opened = survey(tmp_path / "best_run")

    assert [c.step for c in opened.checkpoints] == [1, 2, 3]


COUNTERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "iter_num": lambda step: {"iter_num": step},
    "global_steps": lambda step: {"global_steps": step},
    "step": lambda step: {"step": torch.tensor(step)},
    "meta.epoch": lambda step: {"meta": {"epoch": step, "config": "x"}},
    "scheduler.last_epoch": lambda step: {"scheduler": {"last_epoch": step}},
    "epoch": lambda step: {"Epoch": step},
    "optimizer": lambda step: {
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": []}
    },
}
"""Counters of single programs, by the key that is told."""


@pytest.mark.parametrize("key", COUNTERS)
def test_other_counters_count_where_names_say_nothing(tmp_path: Path, key: str) -> None:
    files = {"c.pt": 10, "a.pt": 20, "b.pt": 300}
    inside = [COUNTERS[key](step) for step in files.values()]
    saved(tmp_path / "plain", {name: step for name, step in files.items()}, inside)
    names = {f"epoch_{n}.pt": n for n in (1, 2, 3)}
    saved(tmp_path / "named", names, inside)

    assert order(survey(tmp_path / "plain"), tmp_path / "plain") == files
    assert origins(survey(tmp_path / "plain")) == {f"in file: {key}"}
    assert order(survey(tmp_path / "named"), tmp_path / "named") == names
    assert origins(survey(tmp_path / "named")) == {"in name: epoch"}


def test_counters_in_plain_pickles_count_alike(tmp_path: Path) -> None:
    for name, step in (("a", 30), ("b", 10)):
        held = {"w": np.full((3, 4), step), "meta": {"iter": np.int64(step)}}
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(held | {"v": np.ones((2, 2))}))

    assert order(survey(tmp_path), tmp_path) == {"b.pkl": 10, "a.pkl": 30}


def test_names_without_numbers_are_sorted_and_said_to_be(tmp_path: Path) -> None:
    saved(tmp_path, {"b.pt": 1, "a.pt": 0, "c.pt": 2})

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"a.pt": 0, "b.pt": 1, "c.pt": 2}
    assert origins(opened) == {"natural order of names"}


def test_uneven_steps_are_kept_as_they_are(tmp_path: Path) -> None:
    write_small_run(tmp_path, [f"checkpoint_epoch_{n}.pt" for n in (1, 2, 5, 10, 50)])

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 5, 10, 50]


def test_steps_may_be_negative_inside_the_file(tmp_path: Path) -> None:
    saved(tmp_path, {"b.pt": 0, "a.pt": 1}, [{"epoch": -1}, {"epoch": 0}])

    assert order(survey(tmp_path), tmp_path) == {"b.pt": -1, "a.pt": 0}


# Copies: last, latest, best


@pytest.mark.parametrize("name", ["last.ckpt", "latest.pt", "model_best.pth", "final.pt"])
def test_a_copy_that_knows_its_step_is_dropped_with_a_note(tmp_path: Path, name: str) -> None:
    inside = [{"epoch": 1}, {"epoch": 2}, {"epoch": 2}]
    saved(tmp_path, {"epoch_1.ckpt": 0, "epoch_2.ckpt": 1, name: 1}, inside)

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"epoch_1.ckpt": 1, "epoch_2.ckpt": 2}
    assert opened.notes == (f"{name} left out: same weights as epoch_2.ckpt",)


@pytest.mark.parametrize("name", ["last.pt", "best_model.pt", "model_final.pt"])
def test_a_copy_without_a_step_is_dropped_with_a_note_and_the_others_keep_theirs(
    tmp_path: Path, name: str
) -> None:
    saved(tmp_path, {"epoch_1.pt": 0, "epoch_2.pt": 1, "epoch_10.pt": 2, name: 1})

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"epoch_1.pt": 1, "epoch_2.pt": 2, "epoch_10.pt": 10}
    assert opened.notes == (f"{name} left out: same weights as epoch_2.pt",)


def test_a_copy_in_a_folder_of_its_own_is_dropped_with_a_note(tmp_path: Path) -> None:
    saved(tmp_path, {"epoch_1/model.pt": 0, "epoch_2/model.pt": 1, "best/model.pt": 1})

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [1, 2]
    assert len(opened.notes) == 1
    assert "best/model.pt" in opened.notes[0]


def test_two_contents_for_one_step_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    inside = [{"epoch": 1}, {"epoch": 2}, {"epoch": 2}]
    saved(tmp_path, {"epoch_1.ckpt": 0, "epoch_2.ckpt": 1, "last.ckpt": 2}, inside)

    with pytest.raises(StepOrderError) as caught:
        survey(f"{tmp_path}/*.ckpt")

    assert str(caught.value) == (
        "two different checkpoints claim step 2 (in file: epoch): epoch_2.ckpt and last.ckpt; "
        "leave one out with --exclude 'last.ckpt', or give the files in order with --given-order"
    )
    assert len(survey(tmp_path, Selection.of(exclude=["last.ckpt"])).checkpoints) == 2


def test_a_version_of_the_same_step_is_told_from_a_copy(tmp_path: Path) -> None:
    names = ["epoch=3-step=900.ckpt", "epoch=3-step=900-v1.ckpt", "epoch=4-step=1200.ckpt"]
    saved(tmp_path / "equal", dict(zip(names, [0, 0, 1], strict=True)))
    saved(tmp_path / "other", dict(zip(names, [0, 1, 2], strict=True)))

    assert [c.step for c in survey(tmp_path / "equal").checkpoints] == [900, 1200]
    with pytest.raises(StepOrderError, match="two different checkpoints claim step 900"):
        survey(tmp_path / "other")


def test_the_remedy_of_a_clash_between_folders_works(tmp_path: Path) -> None:
    saved(
        tmp_path,
        {"checkpoint-1/model.pt": 0, "checkpoint-2/model.pt": 1, "extra/model.pt": 2},
        [{"epoch": 1}, {"epoch": 2}, {"epoch": 2}],
    )

    with pytest.raises(StepOrderError) as caught:
        survey(tmp_path)

    message = str(caught.value)
    assert "extra/model.pt" in message
    remedy = message.split("--exclude '")[1].split("'")[0]
    assert order(survey(tmp_path, Selection.of(exclude=[remedy])), tmp_path) == {
        "checkpoint-1/model.pt": 1,
        "checkpoint-2/model.pt": 2,
    }


def test_the_best_with_a_step_of_its_own_is_kept(tmp_path: Path) -> None:
    inside = [{"epoch": 1}, {"epoch": 10}, {"epoch": 7}]
    saved(tmp_path, {"epoch_1.pt": 0, "epoch_10.pt": 2, "best.pt": 1}, inside)

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"epoch_1.pt": 1, "best.pt": 7, "epoch_10.pt": 10}
    assert opened.notes == ()


def test_steps_of_a_run_whose_names_all_say_best_are_read(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["best_epoch_3.pt", "best_epoch_12.pt"])

    assert [c.step for c in survey(tmp_path).checkpoints] == [3, 12]


# What cannot be ordered


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "final.pt", "extra.pt"])
def test_a_checkpoint_without_a_step_beside_a_series_is_left_out_with_a_note(
    tmp_path: Path, name: str
) -> None:
    saved(tmp_path, {"epoch_1.pt": 0, "epoch_2.pt": 1, name: 5})

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {"epoch_1.pt": 1, "epoch_2.pt": 2}
    assert len(opened.notes) == 1
    assert opened.notes[0].startswith(f"{name} left out: no step where the others have one")
    assert "--given-order" in opened.notes[0]


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "extra.pt"])
def test_a_checkpoint_without_a_step_that_the_user_named_asks_for_order(
    tmp_path: Path, name: str
) -> None:
    saved(tmp_path, {"epoch_1.pt": 0, "epoch_2.pt": 1, name: 5})

    with pytest.raises(StepOrderError) as caught:
        survey(f"{tmp_path}/*.pt")

    assert name in str(caught.value)
    assert "--exclude" in str(caught.value)
    assert "--given-order" in str(caught.value)


def test_final_weights_that_the_user_named_come_last(tmp_path: Path) -> None:
    saved(tmp_path, {"init.pt": 0, "epoch_1.pt": 1, "epoch_20.pt": 2, "final.pt": 3})

    opened = survey(f"{tmp_path}/*.pt")

    assert order(opened, tmp_path) == {"init.pt": 0, "epoch_1.pt": 1, "epoch_20.pt": 20,
                                       "final.pt": 21}  # fmt: skip
    assert opened.checkpoints[-1].step_source == "in name: final weights"


@pytest.mark.parametrize("name", ["init.pt", "model_init.pt", "initial.pt", "untrained.pt"])
def test_initial_weights_without_a_step_stand_at_step_0(tmp_path: Path, name: str) -> None:
    saved(tmp_path, {name: 0, "epoch_1.pt": 1, "epoch_2.pt": 2})

    opened = survey(tmp_path)

    assert order(opened, tmp_path) == {name: 0, "epoch_1.pt": 1, "epoch_2.pt": 2}
    assert opened.checkpoints[0].step_source == "in name: initial weights"


def test_initial_weights_stand_before_a_checkpoint_of_step_0(tmp_path: Path) -> None:
    saved(tmp_path, {"init.pt": 0, "epoch_0.pt": 1, "epoch_1.pt": 2})

    assert order(survey(tmp_path), tmp_path) == {"init.pt": -1, "epoch_0.pt": 0, "epoch_1.pt": 1}


def test_of_two_initial_weights_none_is_taken(tmp_path: Path) -> None:
    files = ["init.pt", "untrained.pt", *(f"epoch_{n}.pt" for n in (1, 2, 3))]
    saved(tmp_path, {name: at for at, name in enumerate(files)})

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [1, 2, 3]
    assert opened.notes[0].startswith("init.pt, untrained.pt left out: no step")


def test_two_runs_in_one_folder_are_not_strung_together(tmp_path: Path) -> None:
    names = [f"run{run}/epoch_{epoch}.pt" for run in (1, 2) for epoch in (1, 2)]
    write_small_run(tmp_path, names)

    with pytest.raises(StepOrderError) as caught:
        survey(tmp_path)

    assert "run1/epoch_1.pt" in str(caught.value)
    assert "run2/epoch_1.pt" in str(caught.value)


def test_two_versions_of_one_lightning_run_are_not_strung_together(tmp_path: Path) -> None:
    names = [f"version_{n}/checkpoints/epoch=0-step=10.ckpt" for n in (0, 1)]
    write_small_run(tmp_path, names)

    with pytest.raises(StepOrderError, match="step 10"):
        survey(tmp_path)


def test_a_minus_sign_before_the_number_is_not_ignored(tmp_path: Path) -> None:
    saved(tmp_path, {"epoch=-1.pt": 0, "epoch=0.pt": 1, "epoch=1.pt": 2})

    assert order(survey(tmp_path), tmp_path) == {
        "epoch=-1.pt": -1,
        "epoch=0.pt": 0,
        "epoch=1.pt": 1,
    }


# Names alone: no file is looked at


def ordered(names: Sequence[str], inside: Sequence[tuple[int, str]] = ()) -> list[tuple[str, int]]:
    """Return names and steps in step order; names that have no step come last, at -1."""
    steps = [*inside, *[(None, "")] * (len(names) - len(inside))]
    found = [
        Found(Path(name), Description("torch zip", (), step, key))
        for name, (step, key) in zip(names, steps, strict=True)
    ]
    result = order_of(found)
    placed = [(p.found.path.as_posix(), p.step) for p in result.placed]
    return placed + [(f.path.as_posix(), -1) for f in result.without_step]


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["epoch_1_step_5.pt", "epoch_2_step_5.pt"], [1, 2]),
        (["epoch_1_step_5.pt", "epoch_2_step_5.pt", "epoch_3_step_9.pt"], [5, 5, 9]),
        (["epoch_1.pt", "epoch_2.pt", "a.pt"], [1, 2, -1]),
        (["a.pt", "epoch_1.pt"], [0, 1]),
        (["a.pt", "b.pt", "epoch_1.pt", "epoch_2.pt"], [0, 1, 2, 3]),
        (["e1_2.pt", "e2_1.pt"], [0, 1]),
        (["e1.pt", "e2x3.pt"], [0, 1]),
        (["a9.pt", "a10.pt", "b.pt"], [9, 10, -1]),
        (["1.pt", "2.pt", "best_1.pt"], [1, 2, -1]),
        (["epoch_1.pt", "best_epoch_1.pt", "epoch_2.pt"], [1, 1, 2]),
        (["epoch_1.pt", "best/epoch_1.pt", "epoch_2.pt"], [1, 1, 2]),
        (["epoch_1.pt", "epoch_1b.pt", "epoch_2.pt", "epoch_2b.pt"], [0, 1, 2, 3]),
        (["1/default/_METADATA", "2/default/_METADATA"], [1, 2]),
        (["step_1.pt", "step_2.pt", f"step_{2**62}.pt"], [1, 2, -1]),
        (["step_1.pt", "step_2.pt", f"step_{2**62 - 1}.pt"], [1, 2, 2**62 - 1]),
    ],
    ids=["epochs tell apart", "most steps tell apart", "most have a step", "one orders nothing",
         "half order nothing", "two numbers differ", "other parts differ", "most have a number",
         "a copy beside numbers", "a copy has its step too", "in a folder of copies", "twins",
         "a mark in an item", "a hash, no step", "the largest step"],
)  # fmt: skip
def test_names_give_steps(names: list[str], steps: list[int]) -> None:
    assert ordered(names) == list(zip(names, steps, strict=True))


def test_the_key_that_most_files_have_counts() -> None:
    names = ["a.pt", "b.pt", "c.pt", "d.pt"]

    most = ordered(names[:3], [(9, "epoch"), (3, "step"), (2, "step")])
    as_many = ordered(names, [(8, "epoch"), (7, "epoch"), (3, "step"), (2, "step")])

    assert most == [("c.pt", 2), ("b.pt", 3), ("a.pt", -1)]
    assert as_many == [(name, at) for at, name in enumerate(names)], "half order nothing"


# Several files, and the order given


def test_the_shell_expands_globs_letter_by_letter_and_steps_put_them_right(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt", "epoch_10.pt"])
    expanded = sorted(str(path) for path in tmp_path.iterdir())

    opened = survey(expanded)

    assert [Path(p).name for p in expanded] == ["epoch_1.pt", "epoch_10.pt", "epoch_2.pt"]
    assert order(opened, tmp_path) == {"epoch_1.pt": 1, "epoch_2.pt": 2, "epoch_10.pt": 10}


def test_folders_expanded_by_the_shell_are_ordered_by_step(tmp_path: Path) -> None:
    write_small_run(tmp_path, [f"checkpoint-{n}/model.pt" for n in (1, 2, 10)])
    expanded = sorted(str(path) for path in tmp_path.iterdir())

    assert [c.step for c in survey(expanded).checkpoints] == [1, 2, 10]


def test_the_order_given_counts_more_than_names_and_files(tmp_path: Path) -> None:
    saved(tmp_path, {"epoch_1.pt": 0, "epoch_2.pt": 1, "c.pt": 2}, [{"epoch": 9}, {"epoch": 8}, {}])
    given = [tmp_path / "c.pt", tmp_path / "epoch_2.pt", tmp_path / "epoch_1.pt"]

    opened = survey(given, Selection.of(in_given_order=True))

    assert order(opened, tmp_path) == {"c.pt": 0, "epoch_2.pt": 1, "epoch_1.pt": 2}
    assert origins(opened) == {"order given"}


def test_files_named_one_by_one_without_numbers_keep_their_order(tmp_path: Path) -> None:
    saved(tmp_path, {"before.pt": 0, "during.pt": 1, "after.pt": 2})

    opened = survey([tmp_path / name for name in ("before.pt", "during.pt", "after.pt")])

    assert order(opened, tmp_path) == {"before.pt": 0, "during.pt": 1, "after.pt": 2}
    assert origins(opened) == {"order given"}


def test_a_file_named_twice_is_one_checkpoint(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["a.pt", "b.pt"])

    opened = survey(
        [tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "a.pt"], Selection.of(in_given_order=True)
    )

    assert order(opened, tmp_path) == {"a.pt": 0, "b.pt": 1}
