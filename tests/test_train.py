"""`accweight train` from end to end, with the real onnxruntime-training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from train_models import Array, classifier, floats, model, node, saved_data, separable

import accweight_core as aw
from accweight_core.cli.app import run

api = pytest.importorskip(
    "onnxruntime.training.api", reason="onnxruntime-training is not installed"
)

Train = Callable[..., tuple[int, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    samples, labels = separable()
    return saved_data(tmp_path / "data.npz", x=samples, y=labels)


@pytest.fixture
def train(tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> Train:
    """Return what trains a model on the data, and gives exit code and stderr."""

    def command(path: Path, *options: str, out: str = "run", on: Path = data) -> tuple[int, str]:
        code = run(["train", str(path), "--data", str(on), "-o", str(tmp_path / out), *options])
        return code, capfd.readouterr().err

    return command


def weights(path: Path) -> dict[str, Array]:
    state = api.CheckpointState.load_checkpoint(path)
    return {name: parameter.data.copy() for name, parameter in state.parameters}


# ---------------------------------------------------------------- a whole run


def test_a_run_is_trained_analysed_and_keeps_its_measures(
    train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, shown = train(
        classifier(tmp_path), "--epochs", "6", "--learning-rate", "0.05", "--validation", "0.2"
    )

    assert code == 0
    assert "epoch 6/6: loss" in shown
    assert run(["analyze", str(tmp_path / "run"), "-o", str(tmp_path / "a.accw"), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["checkpoints"] == 7
    analysis = aw.open_analysis(tmp_path / "a.accw")
    records = analysis.header.checkpoints
    assert [record.step for record in records] == [0, 1, 2, 3, 4, 5, 6]
    assert set(records[0].measures) == {
        "loss", "accuracy", "validation_loss", "validation_accuracy",
    }  # fmt: skip
    assert records[-1].measures["validation_accuracy"] > 0.95
    assert records[-1].measures["loss"] < records[0].measures["loss"] / 4
    assert [(layer.name, str(layer.kind)) for layer in analysis.header.layers] == [
        ("fc1", "linear"),
        ("fc2", "linear"),
    ]


def test_epoch_0_holds_the_weights_of_the_model(train: Train, tmp_path: Path) -> None:
    path = classifier(tmp_path)

    train(path, "--epochs", "1")

    expected = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    found = weights(tmp_path / "run" / "epoch_0.ckpt")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_json_is_one_document_on_stdout(
    tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, out = classifier(tmp_path), tmp_path / "run"

    code = run(["train", str(path), "--data", str(data), "-o", str(out), "--epochs", "2", "--json"])

    document = json.loads(capfd.readouterr().out)
    assert code == 0
    assert [entry["epoch"] for entry in document["epochs"]] == [0, 1, 2]
    assert [Path(p).name for p in document["checkpoints"]] == [
        "epoch_0.ckpt", "epoch_1.ckpt", "epoch_2.ckpt",
    ]  # fmt: skip
    assert document["trained"] == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


def test_checkpoints_are_kept_as_often_as_asked(train: Train, tmp_path: Path) -> None:
    train(classifier(tmp_path), "--epochs", "5", "--save-every", "2")

    assert sorted(p.name for p in (tmp_path / "run").glob("*.ckpt")) == [
        ".latest.ckpt", "epoch_0.ckpt", "epoch_2.ckpt", "epoch_4.ckpt", "epoch_5.ckpt",
    ]  # fmt: skip


# ---------------------------------------------------------------- what an update does


def torch_twin() -> torch.nn.Module:
    twin = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        twin[0].weight.copy_(torch.from_numpy(floats(4, 8, seed=1).T * np.float32(0.4)))
        twin[2].weight.copy_(torch.from_numpy(floats(8, 3, seed=2).T * np.float32(0.4)))
        twin[0].bias.zero_()
        twin[2].bias.zero_()
    return twin


def mean_square(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.mse_loss(scores, targets)


LOSSES: dict[str, Any] = {
    "cross_entropy": torch.nn.functional.cross_entropy,
    "mse": mean_square,
    "l1": torch.nn.functional.l1_loss,
    "bce_with_logits": torch.nn.functional.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_update_is_that_of_torch(
    loss: str, optimizer: str, train: Train, tmp_path: Path
) -> None:
    samples, labels = separable(24)
    targets = labels if loss == "cross_entropy" else np.eye(3, dtype=np.float32)[labels]
    on = saved_data(tmp_path / "t.npz", x=samples, y=targets)
    twin = torch_twin()
    decay = {"sgd": 0.0, "adamw": 0.1}[optimizer]
    steps: Any = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    moving = steps(twin.parameters(), lr=0.05, weight_decay=decay)
    value = LOSSES[loss](twin(torch.from_numpy(samples)), torch.from_numpy(targets))
    value.backward()
    moving.step()

    code, shown = train(
        classifier(tmp_path), "--loss", loss, "--optimizer", optimizer, "--epochs", "1",
        "--learning-rate", "0.05", "--weight-decay", str(decay), "--batch-size", "24", on=on,
    )  # fmt: skip

    assert code == 0, shown
    found = weights(tmp_path / "run" / "epoch_1.ckpt")
    measures = aw.open_run(tmp_path / "run").checkpoints[1].measures
    assert measures["loss"] == pytest.approx(value.item(), abs=1e-6)
    tolerance = 1e-6 if optimizer == "sgd" else 1e-5  # near 0, Adam divides by rounding
    for index, layer in ((0, "fc1"), (2, "fc2")):
        moved: Any = twin[index]
        np.testing.assert_allclose(
            found[f"{layer}.weight"], moved.weight.detach().numpy().T, atol=tolerance
        )
        np.testing.assert_allclose(
            found[f"{layer}.bias"], moved.bias.detach().numpy(), atol=tolerance
        )


def test_large_logits_give_no_nan(train: Train, tmp_path: Path) -> None:
    samples, labels = separable(24)
    on = saved_data(tmp_path / "t.npz", x=samples * 1000, y=np.eye(3)[labels])

    code, shown = train(classifier(tmp_path), "--loss", "bce_with_logits", "--epochs", "1", on=on)

    assert code == 0, shown


def test_two_runs_with_one_seed_give_the_same_bits(train: Train, tmp_path: Path) -> None:
    path = classifier(tmp_path)
    for out, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        train(path, "--epochs", "2", "--seed", seed, out=out)

    last = [(tmp_path / out / "epoch_2.ckpt").read_bytes() for out in "abc"]
    assert last[0] == last[1] != last[2]


def test_a_run_that_is_resumed_gives_the_same_bits(train: Train, tmp_path: Path) -> None:
    path = classifier(tmp_path)
    train(path, "--epochs", "4", out="whole")
    train(path, "--epochs", "2", out="parts")

    code, shown = train(path, "--epochs", "4", "--resume", out="parts")

    assert code == 0, shown
    for epoch in range(5):
        name = f"epoch_{epoch}.ckpt"
        whole, parts = (tmp_path / out / name for out in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


def test_every_epoch_has_an_order_of_its_own_which_the_seed_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accweight_adapters.training import loop as train_loop
    from accweight_adapters.training.config import Epochs

    monkeypatch.setattr(train_loop, "_walked", lambda *arguments: arguments[-1].tolist())
    setup: Any = SimpleNamespace(data=range(20))

    def order(seed: int, epoch: int) -> Any:
        epochs = Epochs(last=9, seed=seed)
        return train_loop._epoch(setup, None, epochs, epoch, None)  # type: ignore[arg-type]

    assert sorted(order(0, 1)) == list(range(20))
    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--learning-rate", "0.5"], "started with learning_rate 0.001, not 0.5"),
        (["--freeze", "fc1*"], "started with trained"),
        (["--epochs", "1"], "epoch 1 is already reached; train more with --epochs 6"),
    ],
)
def test_a_run_is_resumed_as_it_was_begun_or_not_at_all(
    options: list[str], problem: str, train: Train, tmp_path: Path
) -> None:
    path = classifier(tmp_path)
    train(path, "--epochs", "1")

    code, shown = train(path, "--epochs", "3", "--resume", *options)

    assert code == 1
    assert problem in shown


def test_a_run_is_not_resumed_with_another_model_or_nothing_to_resume(
    train: Train, tmp_path: Path
) -> None:
    path = classifier(tmp_path)
    train(path, "--epochs", "1")

    other = classifier(tmp_path, middle="Tanh", name="other.onnx")
    assert "started with another model (model.onnx)" in train(other, "--resume")[1]
    assert "no training run to continue" in train(path, "--resume", out="new")[1]


# ---------------------------------------------------------------- what is trained


def test_frozen_parameters_stay_as_they_are(train: Train, tmp_path: Path) -> None:
    path = classifier(tmp_path)

    train(path, "--epochs", "1", "--freeze", "fc1*", out="freeze")
    train(path, "--epochs", "1", "--train", "fc2*", out="only")

    for out in ("freeze", "only"):
        before, after = (weights(tmp_path / out / f"epoch_{n}.ckpt") for n in (0, 1))
        still = {name for name in before if np.array_equal(before[name], after[name])}
        assert still == {"fc1.weight", "fc1.bias"}


def test_a_pattern_that_fits_nothing_is_an_error(train: Train, tmp_path: Path) -> None:
    code, shown = train(classifier(tmp_path), "--freeze", "conv*")

    assert code == 1
    assert "no parameter matches 'conv*'; parameters are fc1.weight, fc1.bias" in shown


@pytest.mark.parametrize(
    ("loss", "end"),
    [("cross_entropy", "Softmax"), ("cross_entropy", "LogSoftmax"), ("bce_with_logits", "Sigmoid")],
)
def test_what_the_loss_does_itself_is_left_out_of_the_model(
    loss: str, end: str, train: Train, tmp_path: Path
) -> None:
    samples, labels = separable()
    targets = labels if loss == "cross_entropy" else np.eye(3)[labels]
    on = saved_data(tmp_path / "t.npz", x=samples, y=targets)
    train(classifier(tmp_path), "--loss", loss, "--epochs", "1", out="plain", on=on)

    _, shown = train(
        classifier(tmp_path, end=end, name="ended.onnx"), "--loss", loss, "--epochs", "1", on=on
    )

    assert f"the model ends with {end}, which is part of {loss}: it is left out" in shown
    assert (tmp_path / "run/epoch_1.ckpt").read_bytes() == (
        tmp_path / "plain/epoch_1.ckpt"
    ).read_bytes()


@pytest.mark.parametrize("opset", [9, 12, 13, 21])
def test_models_of_old_and_new_operator_sets_are_trained_alike(
    opset: int, train: Train, tmp_path: Path
) -> None:
    train(classifier(tmp_path, opset=17), "--epochs", "1", out="seventeen")

    code, shown = train(classifier(tmp_path, opset=opset, name="o.onnx"), "--epochs", "1")

    assert code == 0, shown
    assert (tmp_path / "run/epoch_1.ckpt").read_bytes() == (
        tmp_path / "seventeen/epoch_1.ckpt"
    ).read_bytes()


def test_a_model_for_batches_of_one_takes_any_number(train: Train, tmp_path: Path) -> None:
    train(classifier(tmp_path), "--epochs", "1", out="free")

    _, shown = train(classifier(tmp_path, batch=1, name="one.onnx"), "--epochs", "1")

    assert "the model was exported for batches of 1; it takes any number now" in shown
    assert (tmp_path / "run/epoch_1.ckpt").read_bytes() == (
        tmp_path / "free/epoch_1.ckpt"
    ).read_bytes()


def stubborn(folder: Path) -> Path:
    """Write a model whose batches have two samples, because it cuts them apart and adds them."""
    nodes = [
        node("Reshape", "x flat", "f"),
        node("Add", "f offset", "shifted"),
        node("Reshape", "shifted back", "again"),
        node("Gemm", "again fc.weight", "z"),
    ]
    constants = {
        "flat": np.array([8]),
        "back": np.array([2, 4]),
        "offset": floats(8),
        "fc.weight": floats(4, 3),
    }
    proto = model(nodes, constants, inputs={"x": (2, 4)}, outputs={"z": (2, 3)})
    onnx.save(proto, folder / "two.onnx")
    return folder / "two.onnx"


def test_a_model_that_cannot_do_without_its_batch_size_keeps_it(
    train: Train, tmp_path: Path
) -> None:
    samples, labels = separable(31)
    on = saved_data(tmp_path / "t.npz", x=samples, y=labels)

    code, shown = train(stubborn(tmp_path), "--epochs", "1", on=on)
    refused, reason = train(stubborn(tmp_path), "--batch-size", "8", out="no", on=on)

    assert code == 0, shown
    assert "the model only takes batches of 2" in shown
    assert "of every epoch, the last 1 samples are left out" in shown
    assert refused == 1
    assert "only takes batches of 2 samples, so --batch-size 8" in reason


def test_a_weight_that_is_reshaped_keeps_its_shape_when_batches_become_free() -> None:
    from accweight_adapters.training.graph import with_free_batch

    nodes = [
        node("Transpose", "w", "turned", perm=[1, 0]),
        node("Reshape", "turned shape", "row"),
        node("Reshape", "x shape", "flat"),
        node("Mul", "flat row", "y"),
    ]
    constants = {"w": floats(2, 4), "shape": np.array([1, 8])}
    proto = model(nodes, constants, inputs={"x": (1, 2, 4)}, outputs={"y": (1, 8)})

    freed = with_free_batch(proto, 1)

    tensors = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in freed.graph.initializer}
    shapes = [tensors[n.input[1]] for n in freed.graph.node if n.op_type == "Reshape"]
    assert shapes == [[1, 8], [-1, 8]]


def test_weights_in_constant_nodes_are_trained(train: Train, tmp_path: Path) -> None:
    proto = onnx.load(classifier(tmp_path))
    tensors = {t.name: t for t in proto.graph.initializer}
    moved = tensors["fc1.weight"]
    constant = onnx.helper.make_node("Constant", [], ["fc1.weight"], name="c", value=moved)
    proto.graph.node.insert(0, constant)
    proto.graph.initializer.remove(moved)
    onnx.save(proto, tmp_path / "constants.onnx")
    train(tmp_path / "model.onnx", "--epochs", "1", out="plain")

    code, shown = train(tmp_path / "constants.onnx", "--epochs", "1")

    assert code == 0, shown
    assert (tmp_path / "run/epoch_1.ckpt").read_bytes() == (
        tmp_path / "plain/epoch_1.ckpt"
    ).read_bytes()


@pytest.mark.parametrize("is_aliased", [True, False])
def test_parameters_that_were_stored_as_one_because_they_were_equal_part_ways(
    is_aliased: bool, train: Train, tmp_path: Path
) -> None:
    nodes = [
        node("Gemm", "x fc1.weight fc1.bias", "h"),
        node("Relu", "h", "a"),
        node("Gemm", f"a fc2.weight {'fc2' if is_aliased else 'fc1'}.bias", "z"),
    ]
    if is_aliased:  # as the legacy exporter of torch does it; the newer one just shares
        nodes.insert(0, node("Identity", "fc1.bias", "fc2.bias"))
    constants = {
        "fc1.weight": floats(4, 3, seed=1),
        "fc1.bias": np.zeros(3, np.float32),
        "fc2.weight": floats(3, 3, seed=2),
    }
    proto = model(nodes, constants, inputs={"x": ("n", 4)}, outputs={"z": ("n", 3)})
    onnx.save(proto, tmp_path / "shared.onnx")

    code, shown = train(tmp_path / "shared.onnx", "--epochs", "2")

    assert code == 0, shown
    assert "1 parameters ('fc2.bias' ...) were stored together with equal ones" in shown
    after = weights(tmp_path / "run" / "epoch_2.ckpt")
    assert not np.array_equal(after["fc1.bias"], after["fc2.bias"])
    layers = aw.open_run(tmp_path / "run").layers
    assert [(layer.name, len(layer.parameters)) for layer in layers] == [("fc1", 2), ("fc2", 2)]


# ---------------------------------------------------------------- what goes wrong


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_checkpoints(
    train: Train, tmp_path: Path
) -> None:
    code, shown = train(
        classifier(tmp_path), "--loss", "cross_entropy", "--optimizer", "sgd",
        "--learning-rate", "1e30", "--epochs", "9", "--batch-size", "60",
    )  # fmt: skip

    assert code == 1
    assert "the loss is not a number in epoch" in shown
    assert "use a smaller --learning-rate" in shown
    assert (tmp_path / "run" / "epoch_0.ckpt").exists()


def test_stopping_keeps_what_is_finished(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accweight_adapters.training import loop as train_loop

    real = train_loop._epoch

    def stopped(setup: Any, session: Any, plan: Any, epoch: int, watch: Any) -> Any:
        if epoch == 3:
            raise KeyboardInterrupt
        return real(setup, session, plan, epoch, watch)

    monkeypatch.setattr(train_loop, "_epoch", stopped)
    code, shown = train(classifier(tmp_path), "--epochs", "9")
    monkeypatch.undo()
    resumed, _ = train(classifier(tmp_path), "--epochs", "4", "--resume")

    assert code == 1
    assert "stopped in epoch 3; 3 checkpoints up to epoch_2.ckpt are in" in shown
    assert resumed == 0
    assert len(aw.open_run(tmp_path / "run").checkpoints) == 5


def test_a_checkpoint_that_cannot_be_finished_leaves_nothing_behind(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accweight_adapters.training import folder as train_folder

    def full(file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train_folder, "_sync", full)

    code, shown = train(classifier(tmp_path), "--epochs", "1")

    assert code == 1
    assert "cannot be written (No space left on device); finished checkpoints are kept" in shown
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["network.onnx", "training.json"]


def test_a_folder_with_something_in_it_is_left_alone(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")

    code, shown = train(classifier(tmp_path))

    assert code == 1
    assert "is not empty; give a new or empty folder" in shown
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_an_operator_without_gradient_is_named_before_anything_is_written(
    train: Train, tmp_path: Path
) -> None:
    proto = onnx.load(classifier(tmp_path))
    hard = node("Floor", "h", "a")
    relu = next(n for n in proto.graph.node if n.op_type == "Relu")
    relu.CopyFrom(hard)
    onnx.save(proto, tmp_path / "hard.onnx")

    code, shown = train(tmp_path / "hard.onnx")
    behind, _ = train(tmp_path / "hard.onnx", "--train", "fc2.*", "--epochs", "1", out="behind")

    assert code == 1
    assert "operator Floor ('/a/Floor') has no gradient in onnxruntime-training" in shown
    assert "train only what lies behind it: --train 'fc2.weight'" in shown
    assert not (tmp_path / "run").exists()
    assert behind == 0


@pytest.mark.parametrize(
    ("kind", "domain", "problem"),
    [
        ("DequantizeLinear", "", "is quantised (operator DequantizeLinear"),
        ("FusedGemm", "com.microsoft", "of the domain 'com.microsoft'; only operators of the ONNX"),
        ("If", "", "branches (operator If"),
    ],
)
def test_models_that_cannot_be_trained_are_refused_with_the_reason(
    kind: str, domain: str, problem: str, train: Train, tmp_path: Path
) -> None:
    proto = onnx.load(classifier(tmp_path))
    relu = next(n for n in proto.graph.node if n.op_type == "Relu")
    relu.op_type, relu.domain = kind, domain
    onnx.save(proto, tmp_path / "odd.onnx")

    code, shown = train(tmp_path / "odd.onnx")

    assert code == 1
    assert problem in shown


def test_a_model_in_half_precision_is_refused_with_the_reason(train: Train, tmp_path: Path) -> None:
    nodes = [node("MatMul", "x fc.weight", "z")]
    proto = model(
        nodes, {"fc.weight": floats(4, 3).astype(np.float16)},
        inputs={"x": ("n", 4)}, outputs={"z": ("n", 3)}, types={"x": 10, "z": 10},
    )  # fmt: skip
    onnx.save(proto, tmp_path / "half.onnx")

    code, shown = train(tmp_path / "half.onnx")

    assert code == 1
    assert "parameter 'fc.weight' is float16; training works in float32" in shown


def test_a_model_with_several_outputs_asks_which(train: Train, tmp_path: Path) -> None:
    proto = onnx.load(classifier(tmp_path))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("a", 1, ("n", 8)))
    onnx.save(proto, tmp_path / "two.onnx")

    code, shown = train(tmp_path / "two.onnx")
    chosen, _ = train(tmp_path / "two.onnx", "--output", "z", "--epochs", "1", out="chosen")

    assert code == 1
    assert "the model has the outputs z, a; choose the one" in shown
    assert chosen == 0


def test_asking_for_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "onnx", "onnxruntime", "rich.progress")
    program = (
        "import sys\nfrom accweight_core.cli.app import run\n"
        "assert run(['train', '--help']) == 0\n"
        f"print('loaded:', *sorted(set({heavy!r}) & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1].strip() == "loaded:", done.stdout + done.stderr
    assert "--learning-rate" in done.stdout


def test_a_copy_of_the_folder_can_be_analysed_without_the_library(
    train: Train, tmp_path: Path
) -> None:
    train(classifier(tmp_path), "--epochs", "1")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    program = (
        "import sys\nsys.modules['onnxruntime'] = None\n"
        "import accweight_core as aw\n"
        f"run = aw.open_run({str(tmp_path / 'copy')!r})\n"
        "print(aw.analyze(run).ranking()['mean'].gt(0).all())"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.strip() == "True", done.stderr
