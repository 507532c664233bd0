"""Which series a folder holds, as a stranger would list them; what is left out; what is run."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import small, write_safetensors, write_small_run

import accweight_core as aw
from accweight_core.cli.app import run as command
from accweight_core.cli.outputs import outputs_in
from accweight_core.errors import MismatchError, SeveralSeriesError, StepOrderError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey
from accweight_core.runs.selection import Selection

Rows = dict[str, dict[str, int]]
"""Steps by file, by series."""


def write(folder: Path, names: Sequence[str], inside: Mapping[str, int] | None = None) -> Path:
    """Write checkpoints whose weights all differ; names with `D` are of another network."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        state = small(number + 0.5)
        if "D" in path.name:
            state = {"conv.weight": torch.full((4, 3, 3, 3), float(number))}
        if path.suffix == ".safetensors":
            write_safetensors(path, state)
        elif path.suffix == ".npz":
            np.savez(path, **{name: value.numpy() for name, value in state.items()})
        else:
            torch.save({"state_dict": state, **(inside or {})}, path)
    return folder


def table(folder: Path, **options: object) -> Rows:
    """Return the steps of every file, by series."""
    found = aw.series_of(folder, **options)
    return {
        series.name: {os.path.relpath(p.found.path, folder): p.step for p in series.placed}
        for series in found
    }


def left_out(folder: Path) -> dict[str, str]:
    """Return why files are left out, by name."""
    return {os.path.relpath(o.path, folder): o.reason for o in inspected(folder).left_out}


TABLES: dict[str, Rows] = {
    "two Lightning runs": {
        "model": {f"model-epoch={n:02d}.ckpt": n for n in (0, 1, 10)},
        "model-v1": {f"model-epoch={n:02d}-v1.ckpt": n for n in (0, 1, 10)},
    },
    "three name patterns": {
        "epoch": {f"epoch_{n}.pt": n for n in (1, 2, 10)},
        "epoch2": {f"epoch2_{n}.pt": n for n in (1, 2, 10)},
        "epoch_no_thresh": {f"epoch_no_thresh_{n}.pt": n for n in (1, 2)},
    },
    "generator and discriminator": {
        "D": {"D_100.pt": 100, "D_200.pt": 200},
        "G": {"G_100.pt": 100, "G_200.pt": 200},
    },
    "numbers before the name": {
        "net_D": {"5_net_D.pth": 5, "10_net_D.pth": 10},
        "net_G": {"5_net_G.pth": 5, "10_net_G.pth": 10},
    },
    "nested two levels down": {
        "a/ckpts": {"a/ckpts/epoch_1.pt": 1, "a/ckpts/epoch_2.pt": 2},
        "b/ckpts": {"b/ckpts/epoch_1.pt": 1, "b/ckpts/epoch_2.pt": 2},
    },
    "one a folder deeper": {
        "sweep/lr_01/checkpoints": {f"sweep/lr_01/checkpoints/epoch={n}.ckpt": n for n in (0, 1)},
        "version_0/checkpoints": {f"version_0/checkpoints/epoch={n}.ckpt": n for n in (0, 1)},
    },
    "formats mixed": {
        "epoch.pt": {"epoch_1.pt": 1, "epoch_2.pt": 2},
        "epoch.safetensors": {"epoch_1.safetensors": 1, "epoch_2.safetensors": 2},
    },
    "networks of a pipeline": {
        "checkpoint/text": {f"checkpoint-{n}/text/model.safetensors": n for n in (500, 1000)},
        "checkpoint/unet": {f"checkpoint-{n}/unet/model.safetensors": n for n in (500, 1000)},
    },
    "several models of a trainer": {
        "checkpoint/model": {f"checkpoint-{n}/model.safetensors": n for n in (5, 10)},
        "checkpoint/model_1": {f"checkpoint-{n}/model_1.safetensors": n for n in (5, 10)},
        "checkpoint/model_2": {f"checkpoint-{n}/model_2.safetensors": n for n in (5, 10)},
    },
    "ranks": {
        f"global_step/mp_rank_0{r}": {f"global_step{n}/mp_rank_0{r}.pt": n for n in (5, 10)}
        for r in (0, 1)
    },
    "ranks in folders": {
        f"iter/mp_rank_0{r}": {f"iter_{n:07d}/mp_rank_0{r}/model_optim_rng.pt": n for n in (5, 10)}
        for r in (0, 1)
    },
    "policies of agents": {
        f"checkpoint/policies/agent_{a}": {
            f"checkpoint_{n:06d}/policies/agent_{a}/state.pt": n for n in (1, 2)}
        for a in (0, 1)
    },
    "jobs of a sweep": {
        f"{j}/checkpoints": {f"{j}/checkpoints/epoch={n}.ckpt": n for n in (0, 1)} for j in (0, 1)
    },
    "folders with dates": {
        "Feb01_10-11-12_": {f"Feb01_10-11-12_/model_{n}.pt": n for n in (0, 50)},
        "Jan02_10-11-12_": {f"Jan02_10-11-12_/model_{n}.pt": n for n in (0, 50, 100)},
    },
    "seeds in names": {
        f"seed{s}": {f"seed{s}_epoch_{n}.pt": n for n in (1, 2)} for s in (0, 1)
    },
    "folds of a cross-validation": {f"fold_{n}": {f"fold_{n}.pt": 0} for n in (0, 1, 2)},
    "folders of runs with steps of their own": {
        f"epoch_{n}": {f"epoch_{n}/step_{s}.pt": s for s in (1, 2)} for n in (5, 6)
    },
    "settings in names": {
        "lr=0.01-epoch": {f"lr=0.01-epoch={n}.ckpt": n for n in (1, 2)},
        "lr=0.1-epoch": {f"lr=0.1-epoch={n}.ckpt": n for n in (1, 2)},
    },
    "folders that say the step twice": {
        f"checkpoint/global_step/{part}_states": {
            f"checkpoint-{n}/global_step{n}/{part}_states.pt": n for n in (500, 1000)}
        for part in ("generator", "critic")
    },
    "archives": {
        "seed": {f"seed/{n}.npz": n for n in (1, 2, 10)},
        "shard": {f"shard/{n}.npz": n for n in (1, 2, 10)},
    },
}  # fmt: skip
"""Folders of several series, as a stranger would list them."""


@pytest.mark.parametrize("name", TABLES)
def test_series_are_listed_as_a_stranger_would(tmp_path: Path, name: str) -> None:
    expected = TABLES[name]
    if name == "settings in names":
        expected = {key.removesuffix("-epoch"): rows for key, rows in expected.items()}
    write(tmp_path, [file for rows in expected.values() for file in rows])

    assert table(tmp_path) == expected
    assert left_out(tmp_path) == {}


@pytest.mark.parametrize("name", TABLES)
def test_series_are_the_same_whatever_the_folder_is_called_and_what_lies_beside(
    tmp_path: Path, name: str
) -> None:
    files = [file for rows in TABLES[name].values() for file in rows]
    expected = table(write(tmp_path / "plain", files))
    random.Random(name).shuffle(files)

    for folder in ("epoch_5", "best", "run-2024", "seed_1/step_3", "checkpoint-7"):
        assert table(write(tmp_path / folder, files)) == expected, folder
    neighbour = [f"zz/other_{n}.pt" for n in (1, 2)]
    beside = table(write(tmp_path / "plain", neighbour))
    assert beside.pop("zz") == {"zz/other_1.pt": 1, "zz/other_2.pt": 2}
    assert beside == expected


@pytest.mark.parametrize("name", TABLES)
def test_several_series_are_never_one_run(tmp_path: Path, name: str) -> None:
    names = list(TABLES[name])
    write(tmp_path, [file for rows in TABLES[name].values() for file in rows])

    with pytest.raises(SeveralSeriesError) as caught:
        survey(tmp_path)

    assert "\n" not in str(caught.value)
    assert "--series NAME" in str(caught.value)
    assert len(caught.value.series) == len(names)
    assert isinstance(caught.value, StepOrderError)
    assert isinstance(caught.value, MismatchError)


@pytest.mark.parametrize("name", [n for n in TABLES if n != "folds of a cross-validation"])
def test_each_series_can_be_taken_by_its_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, [file for rows in TABLES[name].values() for file in rows])

    for series, rows in table(tmp_path).items():
        run = aw.open_run(tmp_path, series=series)
        assert {os.path.relpath(c.path, tmp_path): c.step for c in run.checkpoints} == rows


ONE_RUN: dict[str, dict[str, int]] = {
    "thousands": {"model_500.pt": 500, "model_1k.pt": 1000, "model_2k.pt": 2000,
                  "model_10k.pt": 10_000},
    "millions": {"m_500K.pt": 500_000, "m_1M.pt": 1_000_000, "m_1.5M.pt": 1_500_000},
    "exponents": {"m_5e5.pt": 500_000, "m_1e6.pt": 1_000_000, "m_2e6.pt": 2_000_000},
    "epoch and update": {"checkpoint_1_50.pt": 50, "checkpoint_1_100.pt": 100,
                         "checkpoint_2_150.pt": 150, "checkpoint_2_200.pt": 200},
    "update counted anew": {"checkpoint_1_50.pt": 0, "checkpoint_1_100.pt": 1,
                            "checkpoint_2_50.pt": 2, "checkpoint_10_50.pt": 3},
    "words": {"init.pt": 0, "final.pt": 1},
    "before and after": {"model_before.pt": 0, "model_after.pt": 1},
    "start, mid, end": {"start.pt": 0, "mid.pt": 1, "end.pt": 2},
    "folders of words": {"init/model.pt": 0, "final/model.pt": 1},
    "dates": {"m_2024-01-02_13-00.pt": 202401021300, "m_2024-01-10_09-30.pt": 202401100930},
    "epochs of Keras": {"01-0.35.pt": 1, "2-0.31.pt": 2, "10-1.25.pt": 10},
    "unit behind": {"500_steps.pt": 500, "1000_steps.pt": 1000},
    "steps that go on": {"epoch_1/step_10.pt": 10, "epoch_1/step_20.pt": 20,
                         "epoch_2/step_30.pt": 30, "epoch_2/step_40.pt": 40},
    "hashes": {"1-3fa9b2c.pt": 1, "2-77d01ab.pt": 2, "10-0b1c2d3.pt": 10},
    "padded and not": {"m_0002.pt": 2, "m_10.pt": 10, "m_9.pt": 9},
    "a network's name": {"resnet50_9.pt": 9, "resnet50_10.pt": 10},
    "fractions of epochs": {"epoch_0.5.pt": 0, "epoch_1.0.pt": 1, "epoch_1.5.pt": 2},
    "deep": {f"a/b/c/d/e/f/{n}.pt": n for n in (1, 2, 10)},
    "before the start": {"step_-1.pt": -1, "step_0.pt": 0, "step_1.pt": 1},
    "exponents with fractions": {"m_5000.pt": 5000, "m_1e+05.pt": 100_000, "m_1.1e+05.pt": 110_000},
    "parts of seconds": {"2024-01-02T10-00-00.123456.pt": 0, "2024-01-02T11-00-00.5.pt": 1,
                         "2024-01-03T09-00-00.25.pt": 2},
    "epochs and losses between dots": {"m.01.0.35.pt": 0, "m.02.0.3.pt": 1, "m.10.0.25.pt": 2},
    "releases": {"m-1.2.3.pt": 0, "m-1.2.10.pt": 1, "m-1.10.0.pt": 2},
    "accuracy behind the epoch": {"m_3epoch_92.1.pt": 3, "m_7epoch_93.pt": 7,
                                  "m_12epoch_91.5.pt": 12},
    "ordinals": {"1st.pt": 1, "2nd.pt": 2, "3rd.pt": 3, "10th.pt": 10},
    "hours and minutes": {"m_1h30m.pt": 5400, "m_2h00m.pt": 7200, "m_10h05m.pt": 36_300},
    "hours and minutes where needed": {"m_30min.pt": 1800, "m_1h30m.pt": 5400, "m_2h.pt": 7200},
    "epochs and batches in letters": {"m_e0_b0.pt": 0, "m_e0_b500.pt": 1, "m_e1_b0.pt": 2,
                                      "m_e1_b500.pt": 3},
    "items of checkpoints": {f"{n}/state/model.pt": n for n in (1000, 2000)},
    "the step in two folders": {f"checkpoint-{n}/global_step{n}/model.pt": n for n in (500, 1000)},
    "dates with a zone": {f"CKPT+2024-01-02+0{h}-04-05+00/model.pt": 20240102000405 + h * 10_000
                          for h in (3, 4)},
}  # fmt: skip
"""Folders of one run, with its steps."""


@pytest.mark.parametrize("name", ONE_RUN)
@pytest.mark.parametrize("called", ["run", "epoch_5", "best", "run-2024"])
def test_names_are_ordered_by_value(tmp_path: Path, name: str, called: str) -> None:
    files = list(ONE_RUN[name])
    random.Random(name).shuffle(files)
    folder = write(tmp_path / called, files)

    (rows,) = table(folder).values()
    opened = survey(folder)

    assert rows == ONE_RUN[name]
    assert [c.step for c in opened.checkpoints] == sorted(ONE_RUN[name].values())
    assert opened.warnings == ()


def test_where_only_the_alphabet_is_left_a_warning_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", ["a.pt", "b.pt", "c.pt"])

    opened = survey(folder)
    analysis = aw.analyze(aw.open_run(folder))

    assert len(opened.warnings) == 1
    assert opened.warnings[0].startswith("the order of the checkpoints is the alphabetical order")
    assert opened.warnings[0] in analysis.header.warnings


def test_a_counter_that_is_the_same_in_most_files_is_no_step(tmp_path: Path) -> None:
    write(tmp_path, ["a/epoch_3.pt", "a/epoch_5.pt", "a/epoch_7.pt"], {"global_step": 8})
    write(tmp_path, ["a/epoch_9.pt"])

    assert table(tmp_path) == {"a": {f"a/epoch_{n}.pt": n for n in (3, 5, 7, 9)}}


def test_figures_in_names_are_measures(tmp_path: Path) -> None:
    write(tmp_path / "named", [f"epoch={n}-val_loss=0.{9 - n}.ckpt" for n in range(3)])
    write(tmp_path / "plain", [f"0{n}-0.{9 - n}.pt" for n in range(3)])

    named, plain = survey(tmp_path / "named"), survey(tmp_path / "plain")

    assert [c.measures for c in named.checkpoints] == [{"val_loss": v} for v in (0.9, 0.8, 0.7)]
    assert [c.measures["in_name"] for c in plain.checkpoints] == [0.9, 0.8, 0.7]


# Single files beside a series


def test_of_a_series_called_last_the_best_beside_it_is_the_copy(tmp_path: Path) -> None:
    for step in (50, 100, 150):
        path = tmp_path / f"last_Ant_ep_{step}_rew__{step}.5_.pth"
        torch.save({"model": small(step), "epoch": step}, path)
    torch.save({"model": small(100), "epoch": 100}, tmp_path / "Ant.pth")

    assert left_out(tmp_path) == {"Ant.pth": "same weights as last_Ant_ep_100_rew__100.5_.pth"}


def test_of_two_copies_the_one_that_says_its_step_is_kept(tmp_path: Path) -> None:
    for step, name in ((10, "checkpoint_10"), (20, "checkpoint_20"), (15, "best_model_15")):
        torch.save({"model": small(step), "step": step}, tmp_path / f"{name}.pth")
    torch.save({"model": small(15), "step": 15}, tmp_path / "best_model.pth")

    assert [Path(c.path).stem for c in survey(tmp_path).checkpoints][1] == "best_model_15"
    assert left_out(tmp_path) == {"best_model.pth": "same weights as best_model_15.pth"}


def test_a_copy_beside_two_series_of_one_run_is_called_a_copy(tmp_path: Path) -> None:
    for epoch in (1, 2):
        torch.save(small(epoch), tmp_path / f"train.{epoch}.pth")
        torch.save({"model": small(epoch), "loss": 0.5}, tmp_path / f"train.{epoch}_full.pth")
    torch.save(small(2), tmp_path / "best.pth")

    assert list(table(tmp_path)) == ["train", "train_full"]
    assert left_out(tmp_path)["best.pth"] == "same weights as train.2.pth"


def test_an_update_beside_epochs_is_no_epoch(tmp_path: Path) -> None:
    write(tmp_path, [*(f"checkpoint{n}.pt" for n in (1, 2, 10)), "checkpoint_2_250.pt"])

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 10]
    assert list(left_out(tmp_path)) == ["checkpoint_2_250.pt"]


def test_the_state_of_a_trainer_beside_its_weights_is_no_series(tmp_path: Path) -> None:
    write(tmp_path, [f"style-{n:06d}.safetensors" for n in (2, 4)])
    write(tmp_path, [f"style-{n:06d}-state/model.safetensors" for n in (2, 4)])

    assert list(table(tmp_path)) == ["style"]
    assert set(left_out(tmp_path).values()) == {"training state, not weights"}


def test_folders_of_state_are_read_where_nothing_else_is(tmp_path: Path) -> None:
    write(tmp_path, [f"style-{n:06d}-state/model.safetensors" for n in (2, 4)])

    assert [c.step for c in survey(tmp_path).checkpoints] == [2, 4]


def test_the_state_of_an_optimizer_by_its_short_name_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, [f"{name}_{n}.npz" for name in ("params", "opt_state") for n in (1, 2)])

    assert list(table(tmp_path)) == ["params"]


def test_of_two_series_that_a_browser_saved_the_first_is_the_run(tmp_path: Path) -> None:
    for epoch in (1, 2):
        for name in (f"model (epoch {epoch})", f"model (epoch {epoch}) (1)"):
            torch.save(small(epoch), tmp_path / f"{name}.pt")

    assert [Path(c.path).stem for c in survey(tmp_path).checkpoints] == [
        "model (epoch 1)",
        "model (epoch 2)",
    ]


def test_results_of_an_evaluation_are_no_series(tmp_path: Path) -> None:
    write(tmp_path, [f"checkpoint{n:04d}.pth" for n in (9, 19)])
    (tmp_path / "eval").mkdir()
    for name in ("000", "050", "latest"):
        arrays = {key: np.ones((10, 5)) for key in ("precision", "recall", "scores")}
        torch.save({**arrays, "counts": [10, 5]}, tmp_path / "eval" / f"{name}.pth")

    assert [c.step for c in survey(tmp_path).checkpoints] == [9, 19]


def test_a_count_after_a_dot_is_no_measure(tmp_path: Path) -> None:
    write(tmp_path, ["model_0.9.pt", "model_0.10.pt"])

    assert [c.measures for c in survey(tmp_path).checkpoints] == [{}, {}]


def test_copies_of_two_runs_are_told_by_their_values(tmp_path: Path) -> None:
    for suffix, start in (("", 0), ("-v1", 5)):
        for epoch in range(3):
            torch.save(small(start + epoch), tmp_path / f"model-epoch=0{epoch}{suffix}.ckpt")
        torch.save(small(start + 2), tmp_path / f"last{suffix}.ckpt")

    assert list(table(tmp_path)) == ["model", "model-v1"]
    assert left_out(tmp_path) == {
        "last.ckpt": "same weights as model-epoch=02.ckpt",
        "last-v1.ckpt": "same weights as model-epoch=02-v1.ckpt",
    }


def test_a_single_file_of_the_latest_state_belongs_to_the_series_of_its_name(
    tmp_path: Path,
) -> None:
    numbered = [f"{n}_net_{which}.pth" for which in "AB" for n in (5, 10)]
    write(tmp_path, [*numbered, "latest_net_A.pth"])

    found = {series.name: series for series in aw.series_of(tmp_path)}

    assert list(found) == ["net_A", "net_B"]
    assert [f.path.name for f in found["net_A"].order.without_step] == ["latest_net_A.pth"]


def test_best_last_and_final_are_left_out_of_a_numbered_series_with_one_note(
    tmp_path: Path,
) -> None:
    write(tmp_path, ["best.pt", "last.pt", "final.pt", *(f"ckpt_{n}.pt" for n in (50, 100, 150))])

    result = inspected(tmp_path)

    assert [c.step for c in result.opened.checkpoints] == [50, 100, 150]
    assert result.run is not None
    assert result.run.name == "ckpt"
    assert [o.path.name for o in result.left_out] == ["best.pt", "final.pt", "last.pt"]
    assert len(result.opened.notes) == 1
    assert "best.pt, final.pt, last.pt left out: no step" in result.opened.notes[0]
    assert "--given-order" in result.opened.notes[0]


def test_a_final_file_that_says_its_step_joins_the_series(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        name = f"style-{number:06d}.safetensors" if number < 3 else "style.safetensors"
        state = {"lora.weight": small(number)["fc.weight"]}
        from safetensors.torch import save_file

        save_file(state, tmp_path / name, metadata={"ss_steps": str(100 * number)})

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [100, 200, 300]
    assert {c.step_source for c in opened.checkpoints} == {"in file: metadata.ss_steps"}


def test_two_contents_of_one_step_are_shown_by_inspect_and_refused_by_analyze(
    tmp_path: Path,
) -> None:
    for name, epoch, value in (("a", 1, 1), ("b", 2, 2), ("c", 2, 3)):
        torch.save({"state_dict": small(value), "epoch": epoch}, tmp_path / f"{name}.ckpt")

    assert left_out(tmp_path) == {"c.ckpt": "claims step 2 as b.ckpt does, with other weights"}
    (warning,) = inspected(tmp_path).opened.warnings
    assert warning.startswith("analyze stops at this: two different checkpoints claim step 2")
    with pytest.raises(StepOrderError, match="two different checkpoints claim step 2"):
        survey(tmp_path)


def test_statistics_and_data_between_checkpoints_are_no_series(tmp_path: Path) -> None:
    write(tmp_path, [f"{which}_{n}.pt" for which in "GD" for n in (100, 200)])
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3), sigma=np.ones((3, 3)))
    np.savez(tmp_path / "digits.npz", x_train=np.zeros((5, 3)), y_train=np.zeros(5))
    np.save(tmp_path / "labels.npy", np.zeros(5))

    assert list(table(tmp_path)) == ["D", "G"]
    assert set(left_out(tmp_path)) == {"stats.npz", "digits.npz", "labels.npy"}


def test_arrays_called_like_data_are_weights_where_there_is_nothing_else(tmp_path: Path) -> None:
    for number in (1, 2):
        np.savez(tmp_path / f"step_{number}.npz", mean=np.full(3, number))

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2]


def test_a_network_saved_once_beside_a_series_is_listed_and_noted(tmp_path: Path) -> None:
    write(tmp_path, ["epoch_1.pt", "epoch_2.pt", "D.pt"])

    opened = survey(tmp_path)

    assert list(table(tmp_path)) == ["D", "epoch"]
    assert [c.step for c in opened.checkpoints] == [1, 2]
    assert any("single checkpoints left out beside epoch: D (1 check" in n for n in opened.notes)


@pytest.mark.parametrize(
    "beside",
    [
        ".hydra/config.yaml",
        "events.out.tfevents.1.host",
        "hparams.yaml",
        "progress.csv",
        "cout.txt",
    ],
)
def test_the_number_of_a_folder_that_is_a_run_is_no_step(tmp_path: Path, beside: str) -> None:
    write(tmp_path, [f"{job}/model.pt" for job in (0, 1, 2)])
    assert [len(rows) for rows in table(tmp_path).values()] == [3]

    for job in (0, 1, 2):
        (tmp_path / str(job) / beside).parent.mkdir(exist_ok=True)
        (tmp_path / str(job) / beside).write_text("lr: 0.1")

    assert list(table(tmp_path)) == ["0", "1", "2"]
    with pytest.raises(SeveralSeriesError, match="3 single checkpoints, which are not one run"):
        survey(tmp_path)


def test_the_last_files_of_jobs_are_not_joined(tmp_path: Path) -> None:
    write(tmp_path, [f"{j}/checkpoints/{n}.pt" for j in (0, 1) for n in ("step=1", "step=2")])
    write(tmp_path, [f"{j}/checkpoints/last.pt" for j in (0, 1)])

    assert list(table(tmp_path)) == ["0/checkpoints", "1/checkpoints"]


def test_parts_in_folders_of_steps_leave_the_model_beside_them_one_run(tmp_path: Path) -> None:
    for step in (1000, 2000):
        write(tmp_path / f"{step}", ["model.pt", "part_1.pt", "part_2.pt"])

    assert table(tmp_path)["model"] == {"1000/model.pt": 1000, "2000/model.pt": 2000}


def test_what_reinforcement_learning_keeps_beside_the_weights_is_no_series(tmp_path: Path) -> None:
    write(tmp_path, ["rl_model_10.pt", "rl_model_20.pt"])
    for step in (10, 20):
        kept = {"observations": np.zeros((9, 4)), "next_observations": np.zeros((9, 4)),
                "rewards": np.zeros(9), "timeouts": np.zeros(9)}  # fmt: skip
        np.savez(tmp_path / f"rl_model_replay_buffer_{step}.npz", **kept)
        scale = {"obs_rms.mean": np.zeros(4), "obs_rms.var": np.ones(4), "old_reward": np.ones(1)}
        np.savez(tmp_path / f"rl_model_vecnormalize_{step}.npz", **scale)

    assert list(table(tmp_path)) == ["rl_model"]
    assert len(left_out(tmp_path)) == 4


def test_a_series_of_best_ones_does_not_make_analyze_ask(tmp_path: Path) -> None:
    write(tmp_path, [f"checkpoint_{n}.pt" for n in (5, 10)])
    write(tmp_path, ["best_model_3_accuracy=0.93.pt", "best_model_7_accuracy=0.95.pt"])

    opened = survey(tmp_path)

    assert list(table(tmp_path)) == ["best_model", "checkpoint"]
    assert [c.step for c in opened.checkpoints] == [5, 10]
    assert any("series left out beside checkpoint: best_model (2 check" in n for n in opened.notes)


# Damaged files


def test_inspect_lists_a_series_with_a_damaged_file_and_analyze_names_it(tmp_path: Path) -> None:
    write(tmp_path, ["epoch_1.pt", "epoch_2.pt"])
    (tmp_path / "epoch_3.pt").write_bytes(b"")

    assert left_out(tmp_path) == {
        "epoch_3.pt": "the file is empty (0 bytes); was the save interrupted?"
    }
    with pytest.raises(aw.AccweightError, match=r"epoch_3\.pt: the file is empty"):
        survey(tmp_path)


def test_a_damaged_file_of_another_name_does_not_stop_the_run(tmp_path: Path) -> None:
    write(tmp_path, ["epoch_1.pt", "epoch_2.pt"])
    (tmp_path / "dataset.bin").write_bytes(b"rows of something")

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [1, 2]
    assert any(note.startswith("dataset.bin left out: no reader") for note in opened.notes)


# Files that the user named


def test_two_series_that_a_pattern_matches_are_two_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, [f"{which}_{n}.pt" for which in "AB" for n in (1, 2)])

    with pytest.raises(SeveralSeriesError):
        survey(f"{tmp_path}/*.pt")
    assert [c.step for c in survey(f"{tmp_path}/A_*.pt").checkpoints] == [1, 2]
    given = [tmp_path / name for name in ("A_1.pt", "A_2.pt", "B_1.pt", "B_2.pt")]
    assert len(survey(given, Selection(in_given_order=True)).checkpoints) == 4


def test_a_series_that_is_not_there_is_answered_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, [f"{which}_{n}.pt" for which in "AB" for n in (1, 2)])

    with pytest.raises(SeveralSeriesError) as caught:
        survey(tmp_path, Selection.of(series="C"))

    assert str(caught.value) == f"{tmp_path}: there is no series 'C'; series: A, B"


def test_a_series_is_named_by_a_pattern_and_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, [f"{run}/epoch_{n}.pt" for run in ("Wide", "narrow") for n in (1, 2)])

    for name in ("Wide", "wide", "W*"):
        assert "Wide" in survey(tmp_path, Selection.of(series=name)).checkpoints[0].path


# Copies of whole series


def test_a_run_saved_in_two_formats_is_analysed_once(tmp_path: Path) -> None:
    for number in (1, 2):
        torch.save(small(number), tmp_path / f"epoch_{number}.pt")
        write_safetensors(tmp_path / f"epoch_{number}.safetensors", small(number))

    result = inspected(tmp_path)

    assert [(s.name, s.copy_of) for s in result.series] == [
        ("epoch.pt", "epoch.safetensors"),
        ("epoch.safetensors", ""),
    ]
    assert {c.format for c in result.opened.checkpoints} == {"safetensors"}
    assert any("left out: same weights as epoch.safetensors" in n for n in result.opened.notes)


# The command


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = command([str(argument) for argument in arguments])
    answer = capsys.readouterr()
    return code, answer.out, answer.err


def test_inspect_prints_series_and_left_out_in_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, [f"{which}_{n}.pt" for which in "GD" for n in (100, 200)])
    np.savez(tmp_path / "stats.npz", mu=np.zeros(3), sigma=np.ones((3, 3)))

    code, out, _ = printed(capsys, "inspect", tmp_path)

    assert code == 0
    assert out.splitlines() == [
        f"{tmp_path}: 2 series of checkpoints; analyze with --series NAME, or --all",
        "",
        "series  checkpoints       steps  from            format     layers  weights  files",
        "D                 2  100 to 200  number in name  torch zip       1      108  D_N.pt",
        "G                 2  100 to 200  number in name  torch zip       1       15  G_N.pt",
        "",
        "left out   why",
        "stats.npz  data or statistics, not weights, by the names of the arrays",
    ]


def test_the_document_of_inspect_holds_every_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, [f"{which}_{n}.pt" for which in "GD" for n in (100, 200)])
    torch.save({"state": {}}, tmp_path / "optimizer.pt")

    document = json.loads(printed(capsys, "inspect", tmp_path, "--json")[1])

    assert document["run"] is None
    assert [one["name"] for one in document["series"]] == ["D", "G"]
    assert [c["step"] for c in document["series"][1]["checkpoints"]] == [100, 200]
    assert [layer["name"] for layer in document["series"][0]["layers"]] == ["conv"]
    assert document["left_out"] == [
        {"path": str(tmp_path / "optimizer.pt"), "reason": "training state, not weights"}
    ]


def test_analyze_says_which_series_there_are_and_takes_one_or_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write(tmp_path / "runs", [f"{r}/ckpts/e_{n}.pt" for r in "ab" for n in (1, 2)])

    code, out, err = printed(capsys, "analyze", runs, "-o", tmp_path / "one.accw")
    assert (code, out) == (1, "")
    assert "a/ckpts (2 checkpoints, steps 1 to 2, a/ckpts/e_1.pt)" in err
    assert "--series NAME" in err
    assert "--all" in err

    one = printed(
        capsys, "analyze", runs, "--series", "b/ckpts", "-o", tmp_path / "one.accw", "--json"
    )
    assert json.loads(one[1])["steps"] == [1, 2]

    every = printed(capsys, "analyze", runs, "--all", "-o", tmp_path / "every", "--json")
    assert [one["series"] for one in json.loads(every[1])["analyses"]] == ["a/ckpts", "b/ckpts"]
    assert sorted(p.name for p in (tmp_path / "every").iterdir() if p.name[0] != ".") == [
        "a-ckpts.accw",
        "b-ckpts.accw",
    ]


def test_no_name_of_a_series_leads_out_of_the_folder_of_all(tmp_path: Path) -> None:
    names = [
        "../../x",
        "/etc/x",
        "..",
        "",
        "a;b",
        "$HOME",
        "-rf",
        "A",
        "a",
        "x" * 300,
        "a/b",
        "a-b",
    ]

    outputs = outputs_in(str(tmp_path), names)

    assert list(outputs) == names
    assert len({path.lower() for path in outputs.values()}) == len(names)
    for path in map(Path, outputs.values()):
        assert path.parent == tmp_path
        assert path.name.endswith(".accw")
        assert len(path.name) < 120
        assert path.name[0] not in ".-"


def test_all_is_refused_where_the_output_is_an_analysis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write(tmp_path / "runs", [f"{r}_{n}.pt" for r in "AB" for n in (1, 2)])
    printed(capsys, "analyze", runs, "--series", "A", "-o", tmp_path / "a.accw")

    code, _, err = printed(capsys, "analyze", runs, "--all", "-o", tmp_path / "a.accw")

    assert code == 1
    assert "is an analysis; with --all, -o names the folder" in err


def test_appending_goes_on_with_the_series_of_the_analysis(tmp_path: Path) -> None:
    runs = write(tmp_path / "runs", [f"{r}_{n}.pt" for r in "AB" for n in (1, 2)])
    out = tmp_path / "b.accw"
    aw.analyze(aw.open_run(runs, series="B"), out, keep_state=True)
    write(runs, ["A_3.pt", "B_3.pt"])

    analysis = aw.append(runs, out)

    assert [Path(c.path).name for c in analysis.header.checkpoints] == [
        "B_1.pt",
        "B_2.pt",
        "B_3.pt",
    ]


def test_appending_knows_its_series_when_the_old_checkpoints_are_gone(tmp_path: Path) -> None:
    runs = write_small_run(tmp_path / "runs", ["A_1.pt", "A_2.pt", "B_1.pt", "B_2.pt"])
    out = tmp_path / "b.accw"
    aw.analyze(aw.open_run(runs, series="B"), out, keep_state=True)
    for name in ("A_1.pt", "A_2.pt", "B_1.pt", "B_2.pt"):
        (runs / name).unlink()
    write_small_run(runs, ["A_3.pt", "A_4.pt", "B_3.pt", "B_4.pt"])

    assert list(aw.append(runs, out).steps) == [1, 2, 3, 4]
    assert {Path(c.path).name[0] for c in aw.open_analysis(out).header.checkpoints} == {"B"}


def test_analyses_and_installed_packages_are_not_searched(tmp_path: Path) -> None:
    runs = write(tmp_path, ["epoch_1.pt", "epoch_2.pt"])
    aw.analyze(aw.open_run(runs), tmp_path / "run.accw")
    write(tmp_path, [f"venv/site-packages/lib/m_{n}.pt" for n in (1, 2)])
    write(tmp_path, [f".cache/m_{n}.pt" for n in (1, 2)])

    assert list(table(runs)) == ["epoch"]
