"""Real checkpoints of other people, where they lie beside the repository.

Nothing here is part of the project; a fresh clone skips this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_cli import accweight

import accweight_core as aw
from accweight_core.readers import readers
from accweight_core.schema import Role
from accweight_core.store.header import Header

DATA = Path(__file__).parents[1].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real checkpoints in {DATA}")

ONNX = pytest.mark.skipif("onnx" not in readers(), reason="needs the reader for ONNX")

RUNS = {
    "pinn_mlp": ([1, 2, 5, 10, 20, 30, 40, 50], "network.9", 6),
    "tbot": ([4, 9, 14, 19, 24, 29, 39, 49, 59, 79, 99], "", 11),
}


def models() -> list[Path]:
    """Return every model that lies there."""
    found = DATA.rglob("*")
    endings = (".onnx", ".safetensors", ".pt")
    return sorted(p for p in found if p.suffix in endings and p.parent.name != "bad")


def identified(path: Path) -> str:
    return str(path.relative_to(DATA))


def without_reader(path: Path) -> bool:
    return path.suffix == ".onnx" and "onnx" not in readers()


@pytest.mark.parametrize("path", models(), ids=identified)
def test_every_model_is_described(path: Path) -> None:
    if without_reader(path):
        pytest.skip("needs the reader for ONNX")

    answer = accweight("inspect", path, "--json")

    assert (answer.code, answer.err) == (0, "")
    document = answer.document
    assert len(document["checkpoints"]) == 1
    if path.name != "mock_sentence_embedder.onnx":  # a graph that has no weights
        roles = {p["role"] for layer in document["layers"] for p in layer["parameters"]}
        assert roles & {"weight", "embedding"}


@pytest.mark.parametrize("path", models(), ids=identified)
def test_every_model_is_shown_in_80_columns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if without_reader(path):
        pytest.skip("needs the reader for ONNX")
    monkeypatch.setenv("COLUMNS", "80")

    answer = accweight("inspect", path)

    assert answer.code == 0
    assert max(len(line.rstrip()) for line in answer.out.splitlines()) <= 80


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bad/empty.onnx", "the file is empty (0 bytes); was the save interrupted?"),
        ("bad/lfs_pointer.onnx", "this is a Git LFS pointer, not the file itself; fetch it with:"),
        ("bad", "empty.onnx: the file is empty"),
        ("README.md", "no reader recognises its content"),
    ],
)
def test_bad_files_are_one_line(name: str, expected: str) -> None:
    answer = accweight("inspect", DATA / name)

    assert expected in answer.problem
    assert str(DATA / name) in answer.problem


@pytest.mark.parametrize("run", RUNS)
def test_real_runs_are_opened_in_order(run: str) -> None:
    steps, _, layers = RUNS[run]

    opened = aw.open_run(DATA / "runs" / run)

    regular = [c for c in opened.checkpoints if "best" not in Path(c.path).name]
    assert [c.step for c in regular] == steps
    assert list(opened.steps) == sorted(opened.steps)
    measured = {p.layer for p in opened.parameters if p.role is Role.WEIGHT}
    assert len(measured) == layers
    assert any("training state, not weights" in note for note in opened.notes)


def test_the_best_model_of_a_real_run_has_a_step_of_its_own() -> None:
    opened = aw.open_run(DATA / "runs" / "tbot")

    assert len(opened.checkpoints) == 12
    (best,) = [c for c in opened.checkpoints if Path(c.path).name == "best_model.pt"]
    assert best.step_source == "in file: epoch"


def test_real_runs_say_how_their_training_went() -> None:
    found = {run: Header.of(aw.open_run(DATA / "runs" / run), (), ()).measures for run in RUNS}

    assert list(found["pinn_mlp"]) == ["loss", "learning_rate"]
    assert found["pinn_mlp"]["learning_rate"][0] == 0.0009997557473810372
    assert found["pinn_mlp"]["loss"][0] == 894.5595002174377
    assert np.isfinite(found["pinn_mlp"]["loss"]).all()
    assert list(found["tbot"]) == [
        "metrics.train_losses",
        "metrics.val_losses",
        "metrics.train_accuracies",
        "metrics.val_accuracies",
        "metrics.learning_rates",
    ]
    assert all(np.isfinite(values).all() for values in found["tbot"].values())
    assert found["tbot"]["metrics.val_losses"].argmin() == 1  # best_model.pt


@pytest.mark.parametrize("run", RUNS)
def test_real_runs_go_all_the_way(run: str, tmp_path: Path) -> None:
    _, top, layers = RUNS[run]
    stored = tmp_path / "run.accw"

    analysed = accweight("analyze", DATA / "runs" / run, "-o", stored, "--json")
    ranked = accweight("rank", stored, "--by", "relative", "--json")
    compared = accweight("compare", stored, stored, "--json")
    exported = accweight("export", stored, "--to", "csv", "-o", tmp_path / "table.csv", "--json")

    assert analysed.document["layers"] == layers
    assert analysed.document["warnings"] == []
    assert not top or analysed.document["ranking"][0]["layer"] == top
    for row in ranked.document["ranking"]:
        assert 0 < row["efficiency"] <= 1
        assert 0 < row["relative"] < 1
        assert row["nonfinite"] == 0
    assert compared.document["rbo"] == 1
    assert exported.document["rows"] == layers * analysed.document["checkpoints"]


def test_exact_values_of_a_real_run_agree_with_its_figures() -> None:
    analysis = aw.analyze(aw.open_run(DATA / "runs" / "pinn_mlp"))
    name = "network.9.weight"

    total = analysis.cumulative(name)

    row = next(row for row in analysis.measured("parameter") if row.name == name)
    assert total.shape == (512, 256) or total.shape == (256, 512)
    np.testing.assert_allclose(total.mean(), row.metrics["mean"][-1], rtol=1e-12)
    assert total.max() == row.metrics["max"][-1]


@ONNX
def test_two_formats_of_one_model_have_the_same_convolutions() -> None:
    folder = DATA / "onnx" / "silero_vad"
    shown = [
        accweight("inspect", folder / name, "--json").document
        for name in ("silero_vad_16k.safetensors", "silero_vad_16k_op15.onnx")
    ]

    shapes = [
        sorted(
            tuple(p["shape"])
            for layer in document["layers"]
            for p in layer["parameters"]
            if p["role"] == "weight" and layer["kind"] == "conv"
        )
        for document in shown
    ]
    assert len(shapes[1]) > 3
    assert set(shapes[1]) <= set(shapes[0])


def test_real_digits_are_read() -> None:
    from accweight_adapters.demo.experiment import mnist

    data = mnist(DATA / "mnist")

    assert data.images.shape == (60_000, 1, 28, 28)
    assert data.test_images.shape == (10_000, 1, 28, 28)
    assert data.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
