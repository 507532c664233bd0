"""Folders of runs as MLflow and Weights & Biases write them, opened by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import small
from torch import nn

import accweight_core as aw
from accweight_core.runs.inspection import inspected
from accweight_core.runs.name_parts import parts_of

RUN = "mlruns/123456789012345678/0a1b2c3d4e5f60718293a4b5c6d7e8f9"
WANDB = "wandb/run-20240102_030405-3kq9x1zt"
COUNT = 12
"""Checkpoints of a run: 10 comes after 9, not after 1."""


def saved(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def mlflow_run(folder: Path) -> Path:
    """Write what MLflow writes beside artifacts, and return the run's folder."""
    run = folder / RUN
    written(run / "meta.yaml", "artifact_uri: file:///run/artifacts\nrun_id: 0a1b\n")
    lines = [f"170000000{n:04} {1 / (n + 1)} {n}\n" for n in range(COUNT)]
    written(run / "metrics" / "loss", "".join(lines))
    written(run / "metrics" / "val" / "acc", "1700000000000 nan 2\n1700000000000 0.5 3\nbroken\n")
    written(run / "metrics" / "system" / "cpu", "1700000000000 80.0 3\n")
    written(run / "params" / "lr", "0.1")
    written(run / "tags" / "mlflow.user", "me")
    return run


def by_callback(folder: Path) -> Path:
    run = mlflow_run(folder)
    for epoch in range(COUNT):
        home = run / "artifacts" / "checkpoints" / f"epoch_{epoch}"
        saved(home / "checkpoint.pth", small(epoch))
        written(home / "checkpoint_metrics.json", '{"loss": 0.1}')
    return run


def by_lightning(folder: Path) -> Path:
    run = mlflow_run(folder)
    for epoch in range(COUNT):
        name = f"epoch={epoch}-step={100 * epoch}"
        home = run / "artifacts" / "model" / "checkpoints" / name
        state = {"state_dict": small(epoch), "epoch": epoch, "global_step": epoch}
        saved(home / f"{name}.ckpt", {**state, "pytorch-lightning_version": "2.2.0"})
        written(home / "aliases.txt", "['latest']")
        written(home / "metadata.yaml", "score: 0.1")
    return run


def by_log_model(folder: Path) -> Path:
    run = mlflow_run(folder)
    for epoch in range(COUNT):
        layer = nn.Linear(4, 3)
        layer.load_state_dict({"weight": small(epoch)["fc.weight"], "bias": torch.zeros(3)})
        home = run / "artifacts" / f"model_{epoch}"
        saved(home / "data" / "model.pth", nn.ModuleDict({"fc": layer}))
        written(home / "data" / "pickle_module_info.txt", "mlflow.pytorch.pickle_module")
        written(home / "MLmodel", "flavors: {}\n")
        written(home / "conda.yaml", "name: env\n")
    return run


def by_log_model_beside(folder: Path, *, name: str = "net") -> Path:
    """Write models as MLflow 3 does: beside the run, which has their steps."""
    run = mlflow_run(folder)
    for epoch in range(COUNT):
        key = f"m-{(7 * epoch) % 13:032x}"
        home = run.parent / "models" / key
        saved(home / "artifacts" / "data" / "model.pth", small(epoch))
        written(home / "artifacts" / "MLmodel", "flavors: {}\n")
        written(home / "meta.yaml", f"model_id: {key}\nname: {name}\nsource_run_id: {run.name}\n")
        written(run / "outputs" / key / "meta.yaml", f"destination_id: {key}\nstep: {epoch}\n")
    return run


def by_log_artifact(folder: Path) -> Path:
    run = mlflow_run(folder)
    for epoch in range(COUNT):
        saved(run / "artifacts" / f"net_{epoch}.pt", small(epoch))
    return run


def wandb_files(folder: Path) -> Path:
    run = folder / WANDB
    for epoch in range(COUNT):
        kept = folder / "elsewhere" / f"model_{epoch}.pt"
        saved(kept, small(epoch))
        link = run / "files" / "ckpt" / kept.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(kept)  # as `wandb.save` does
    written(run / "files" / "wandb-summary.json", '{"loss": 0.1, "_step": 11}')
    written(run / "files" / "wandb-metadata.json", "{}")
    written(run / "files" / "config.yaml", "lr: 0.1")
    written(run / "run-3kq9x1zt.wandb", ":W&B")
    return run


def wandb_artifacts(name: str, below: str = "model.pt") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for version in range(COUNT):
            saved(folder / "artifacts" / f"{name}:v{version}" / below, small(version))
        return folder / "artifacts"

    return write


@pytest.mark.parametrize(
    ("write", "source"),
    [
        (by_callback, "in name: epoch"),
        (by_lightning, "in file: global_step"),
        (by_log_model, "number in name"),
        (by_log_artifact, "number in name"),
        (wandb_files, "number in name"),
        (wandb_artifacts("model-3kq9x1zt"), "in name: artifact"),
        (wandb_artifacts("run_3kq9x1zt_model"), "in name: artifact"),
        (wandb_artifacts("run-3kq9x1zt-model", "sub/model.pt"), "in name: artifact"),
    ],
)
def test_the_folder_of_a_run_is_a_run(
    write: Callable[[Path], Path], source: str, tmp_path: Path
) -> None:
    run = aw.open_run(write(tmp_path))

    assert [checkpoint.step for checkpoint in run.checkpoints] == list(range(COUNT))
    assert run.checkpoints[0].step_source == source
    assert aw.analyze(run).cumulative("fc.weight").mean() == pytest.approx(COUNT - 1)


def test_metrics_of_mlflow_at_the_steps_of_checkpoints_are_measures(tmp_path: Path) -> None:
    run = aw.open_run(by_callback(tmp_path))

    assert [c.measures["loss"] for c in run.checkpoints] == [1 / (n + 1) for n in range(COUNT)]
    assert [c.step for c in run.checkpoints if "val/acc" in c.measures] == [3]
    assert not any("cpu" in name for c in run.checkpoints for name in c.measures)


def test_metrics_that_were_logged_since_are_read_again(tmp_path: Path) -> None:
    folder = by_log_artifact(tmp_path)
    aw.open_run(folder)

    with (folder / "metrics" / "loss").open("a") as file:
        file.write("1700000000099 7.0 2\n")

    assert aw.open_run(folder).checkpoints[2].measures["loss"] == 7.0


def test_metrics_that_are_no_metrics_are_passed_over(tmp_path: Path) -> None:
    folder = by_callback(tmp_path)
    (folder / "metrics" / "loss").write_bytes(b"\xff\x00 \n1 2\n1 x 3\n1 0.5 " + b"9" * 6000)
    (folder / "metrics" / "a\x1b[31m").write_bytes(b"1 0.5 1\n")

    run = aw.open_run(folder)

    assert all(set(c.measures) <= {"val/acc"} for c in run.checkpoints)


def test_two_artifacts_are_two_series(tmp_path: Path) -> None:
    for name in ("generator", "critic"):
        folder = wandb_artifacts(name)(tmp_path)

    found = aw.series_of(folder)

    assert [(one.name, one.pattern, one.steps) for one in found] == [
        ("critic", "critic:vN/model.pt", tuple(range(12))),
        ("generator", "generator:vN/model.pt", tuple(range(12))),
    ]


def test_the_version_of_an_artifact_is_a_number_whatever_its_name_holds() -> None:
    parts = parts_of("run_3kq9x1zt_model-v2:v10")

    assert [(number.text, number.step_word) for number in parts.counts] == [("10", "artifact")]
    assert parts.pattern == "run_3kq9x1zt_model-v2:v#"


@pytest.mark.parametrize("depth", range(3), ids=["run", "experiment", "all"])
def test_models_beside_their_run_have_its_steps_and_metrics(tmp_path: Path, depth: int) -> None:
    folder = by_log_model_beside(tmp_path)
    written(tmp_path / "mlruns" / "0" / "meta.yaml", "name: Default\n")  # an empty experiment

    found = inspected([folder, *folder.parents][depth])

    checkpoints = found.opened.checkpoints
    assert [c.step for c in checkpoints] == list(range(COUNT))
    assert [c.measures["loss"] for c in checkpoints] == [1 / (n + 1) for n in range(COUNT)]
    assert len(found.series) == 1
    assert not found.left_out


def test_models_beside_runs_are_a_series_for_each_run_and_name(tmp_path: Path) -> None:
    by_log_model_beside(tmp_path / "1", name="G")
    by_log_model_beside(tmp_path / "2", name="D")

    names = [series.name for series in inspected(tmp_path).series]

    assert [name.rpartition("/")[2] for name in names] == ["G", "D"]


def test_the_name_of_a_model_beside_its_run_is_data(tmp_path: Path) -> None:
    run = by_log_model_beside(tmp_path, name="../../etc")

    found = inspected(run)

    assert len(found.series) == COUNT
    assert found.run is None
