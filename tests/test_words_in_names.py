"""Order by words, by epoch and batch; parts of one model that are no steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import small
from named_files import series_of, steps, table, warnings

from accweight_core.errors import FormatError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey
from accweight_core.runs.selection import Selection

IN_ORDER = [
    ["pretrained", "finetuned"],
    ["pre-trained", "fine-tuned"],
    ["pretrained", "trained"],
    ["old", "new"],
    ["early", "middle", "late"],
    ["init", "early", "mid", "late", "final"],
    ["prev", "current"],
    ["previous", "latest"],
    ["before", "during", "after"],
]


@pytest.mark.parametrize("words", IN_ORDER, ids=", ".join)
@pytest.mark.parametrize("form", ["{}.pt", "{}/model.pt", "net_{}.pt", "{}-weights.pt"])
def test_words_order_checkpoints(words: list[str], form: str) -> None:
    names = [form.format(word) for word in words]

    assert steps(sorted(names)) == {name: at for at, name in enumerate(names)}
    assert warnings(sorted(names)) == ()


@pytest.mark.parametrize("names", [["base.pt", "new.pt"], ["a_old.pt", "b_new.pt"]])
def test_words_order_nothing_beside_other_words(names: list[str]) -> None:
    assert warnings(names)[0].startswith("the order of the checkpoints is the alphabetical order")


@pytest.mark.parametrize("form", ["ep{}_batch{}.pt", "epoch_{}-ba_{}.pt", "epoch_{}/batch_{}.pt"])
def test_batches_are_counted_within_their_epoch(form: str) -> None:
    counts = [(1, 100), (1, 200), (2, 100), (2, 200), (10, 100)]
    names = [form.format(*count) for count in counts]

    assert list(steps(sorted(names))) == names
    assert warnings(sorted(names)) == ()


def test_batches_that_start_again_order_nothing_without_their_epoch() -> None:
    names = ["epoch1_batch900.pt", "epoch2_batch300.pt", "epoch3_batch100.pt"]

    assert list(steps(names)) == names
    assert warnings(names) == ()


@pytest.mark.parametrize("word", ["iter", "it", "update"])
def test_counts_that_start_again_in_every_epoch_come_after_it(word: str) -> None:
    names = [f"epoch1_{word}100.pt", f"epoch1_{word}200.pt", f"epoch2_{word}100.pt"]

    assert list(steps(names)) == names


def test_counts_that_go_on_are_the_steps() -> None:
    names = ["epoch1_iter100.pt", "epoch1_iter200.pt", "epoch2_iter300.pt"]

    assert list(steps(names).values()) == [100, 200, 300]


def test_runs_with_batches_stay_apart() -> None:
    names = [f"run{r}_ep{e}_batch{b}.pt" for r in (1, 2) for e in (1, 2) for b in (10, 20)]

    assert [len(rows) for rows in table(names).values()] == [4, 4]
    assert [series.order.warnings for series in series_of(names)] == [(), ()]


# Parts of one model


def test_parts_of_a_model_split_for_model_parallelism_are_no_steps(tmp_path: Path) -> None:
    for number in range(3):
        torch.save(small(number), tmp_path / f"consolidated.{number:02d}.pth")

    for look in (survey, inspected):
        with pytest.raises(FormatError) as caught:
            look(tmp_path)

        assert "one of 3 parts of one model, split for model parallelism" in str(caught.value)
        assert "merge them into one checkpoint first" in str(caught.value)
    with pytest.raises(FormatError, match="parts of one model"):
        survey(f"{tmp_path}/*.pth")


def test_parts_of_a_model_are_left_out_beside_a_run(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    for number in (0, 1):
        torch.save(small(number), tmp_path / "llama" / f"consolidated.{number:02d}.pth")
        torch.save(small(number), tmp_path / f"step_{number}.pt")

    result = inspected(tmp_path)

    assert [c.step for c in result.opened.checkpoints] == [0, 1]
    assert len(result.left_out) == 2
    assert "model parallelism" in result.left_out[0].reason


def test_a_model_in_one_such_file_is_a_checkpoint(tmp_path: Path) -> None:
    for step in (100, 200):
        (tmp_path / f"step_{step}").mkdir()
        torch.save(small(step), tmp_path / f"step_{step}" / "consolidated.00.pth")

    assert [c.step for c in survey(tmp_path).checkpoints] == [100, 200]
    assert len(survey(tmp_path, Selection.of(exclude=["step_100/*"])).checkpoints) == 1
