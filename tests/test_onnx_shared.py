"""ONNX tensors that an exporter stored once: listed as in a later step, where values differ."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_models import described, floats, node, read, saved
from torch import nn

from accweight_adapters.onnx.reader import OnnxReader
from accweight_core.schema import Axis, Description, Extent, HiddenValues, Role

VESPA = Path(__file__).parents[2] / "shared" / "data" / "onnx" / "vespa"


class Convolutions(nn.Module):
    """Convolutions with biases of zero and without, batch norms, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.conv3, self.head = nn.Conv2d(4, 4, 3, stride=2), nn.Linear(6, 4)
        self.plain, self.bare = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.bn3, self.up = nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 2, groups=2)
        for layer in (self.conv1, self.conv2, self.conv3, self.up, self.head):
            nn.init.zeros_(layer.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify images."""
        image = torch.relu(self.bn1(self.conv1(image)))
        image = torch.relu(self.bn2(self.conv2(image)))
        image = self.plain(torch.relu(self.bn3(self.bare(self.conv3(image)))))
        return self.head(self.up(image).mean((2, 3)))


class Tied(nn.Module):
    """One matrix for embedding and output, and one for two linear layers with own biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc1, self.fc2 = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.output = nn.Linear(8, 9, bias=False)
        self.fc2.weight, self.output.weight = self.fc1.weight, self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Predict tokens."""
        return self.output(self.fc2(self.fc1(self.embed(tokens))))


def encoder(*, bias: bool = True) -> nn.Module:
    """Return three deep copies of one layer, equal until they are trained."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, bias=bias)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


EXPORTS: dict[str, dict[str, Any]] = {
    "legacy": {"dynamo": False},
    "unfolded": {"dynamo": False, "do_constant_folding": False},
    "dynamo": {"dynamo": True, "external_data": False, "verbose": False},
}


def exported(model: nn.Module, sample: torch.Tensor, path: Path, how: str, **more: Any) -> Path:
    mode = torch.onnx.TrainingMode.TRAINING if model.training else torch.onnx.TrainingMode.EVAL
    options = EXPORTS[how] | more | ({} if how == "dynamo" else {"training": mode})
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of their own future
        torch.onnx.export(model, (sample,), path, **options)
    logging.disable(logging.NOTSET)
    return path


def steps(
    folder: Path, model: nn.Module, sample: torch.Tensor, how: str
) -> tuple[Description, Description]:
    """Describe a model as it is, and after every one of its weights has moved."""
    first = exported(model, sample, folder / "0.onnx", how)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    second = exported(model, sample, folder / "1.onnx", how)
    return OnnxReader().describe(first), OnnxReader().describe(second)


def listing(description: Description) -> list[Any]:
    return [(tensor.name, tensor.shape, tensor.hints) for tensor in description.tensors]


@pytest.mark.parametrize("how", list(EXPORTS))
@pytest.mark.parametrize("training", [False, True])
def test_convolutions_are_listed_alike_before_and_after_training(
    tmp_path: Path, how: str, training: bool
) -> None:
    model = Convolutions().train(training)

    untrained, trained = steps(tmp_path, model, torch.randn(2, 1, 9, 9), how)

    assert listing(untrained) == listing(trained)
    assert "head.bias" in {tensor.name for tensor in untrained.tensors}
    assert "plain.bias" not in {tensor.name for tensor in untrained.tensors}


@pytest.mark.parametrize("how", list(EXPORTS))
def test_copied_encoder_layers_are_listed_alike_before_and_after_training(
    tmp_path: Path, how: str
) -> None:
    untrained, trained = steps(tmp_path, encoder().eval(), torch.randn(2, 5, 8), how)

    assert listing(untrained) == listing(trained)
    assert len(untrained.tensors) == 36
    assert not any("serve several" in note for note in untrained.notes)


def test_folded_matrices_without_bias_are_all_that_stays_shared(tmp_path: Path) -> None:
    model = encoder(bias=False).eval()

    untrained, trained = steps(tmp_path, model, torch.randn(2, 5, 8), "dynamo")

    missing = set(map(str, listing(trained))) - set(map(str, listing(untrained)))
    assert len(missing) == 6  # in_proj, linear1 and linear2 of the second and third layer
    assert all(text.startswith("('val_") for text in missing)
    assert "serve several layers" in untrained.notes[0]


@pytest.mark.parametrize("how", ["unfolded", "dynamo"])
def test_tied_matrices_stay_one(tmp_path: Path, how: str) -> None:
    description = OnnxReader().describe(
        exported(Tied().eval(), torch.randint(0, 9, (2, 5)), tmp_path / "t.onnx", how)
    )

    shapes = [tensor.shape for tensor in description.tensors]
    assert shapes.count((8, 8)) == 1
    assert shapes.count((9, 8)) == 1
    assert "serve several layers" in description.notes[0]


def test_dropped_biases_are_read_as_zeros_and_noted(tmp_path: Path) -> None:
    path = exported(Convolutions().eval(), torch.randn(2, 1, 9, 9), tmp_path / "c.onnx", "dynamo")

    tensor = described(path)["conv3.bias"]

    assert "conv3.bias" not in {t.name for t in onnx.load(path).graph.initializer}
    assert isinstance(tensor.values, HiddenValues)
    assert (tensor.hints.layer, tensor.hints.role) == ("conv3", Role.BIAS)
    assert np.array_equal(read(tensor), np.zeros(4, np.float32))
    assert "dropped them because they were zero" in OnnxReader().describe(path).notes[0]


def test_a_tensor_with_two_names_is_listed_under_both(tmp_path: Path) -> None:
    nodes = [
        node("Identity", "a.weight", "b.weight"),
        node("MatMul", "x a.weight", "h", "/a/MatMul"),
        node("Gemm", "h b.weight", "y", "/b/Gemm", transB=1),
    ]
    weight = floats(4, 4)

    description = OnnxReader().describe(saved(tmp_path, nodes, {"a.weight": weight}))

    first, second = description.tensors
    assert [(t.name, t.hints.layer) for t in (first, second)] == [
        ("a.weight", "a"),
        ("b.weight", "b"),
    ]
    assert isinstance(second.values, Extent)
    assert first.values == second.values
    assert second.hints.axes == (Axis.OUTPUT, Axis.INPUT)
    assert np.array_equal(read(second), weight)
    assert description.notes == ()


@pytest.mark.parametrize("name", ["val_7", "/enc.0/Identity_output_0", "copied", "x::y.z"])
def test_a_name_that_the_exporter_made_is_no_second_name(tmp_path: Path, name: str) -> None:
    nodes = [
        node("Identity", "a.weight", name),
        node("MatMul", "x a.weight", "h", "/a/MatMul"),
        node("MatMul", f"h {name}", "y", "/b/MatMul"),
    ]

    description = OnnxReader().describe(saved(tmp_path, nodes, {"a.weight": floats(4, 4)}))

    assert [tensor.name for tensor in description.tensors] == ["a.weight"]
    assert "'a.weight' also 'b'" in description.notes[0]


def test_a_name_behind_the_only_use_does_not_make_a_second_entry(tmp_path: Path) -> None:
    nodes = [node("Identity", "val_3", "fc.weight"), node("MatMul", "x fc.weight")]

    tensors = described(saved(tmp_path, nodes, {"val_3": floats(4, 4)}))

    assert [(t.name, t.hints.layer) for t in tensors.values()] == [("val_3", "fc")]


def test_embedding_and_projection_through_a_transpose_are_one(tmp_path: Path) -> None:
    nodes = [
        node("Gather", "embed.weight ids", "e", "/embed/Gather"),
        node("Transpose", "embed.weight", "t", perm=[1, 0]),
        node("MatMul", "e t", "y", "/head/MatMul"),
    ]

    tensors = described(saved(tmp_path, nodes, {"embed.weight": floats(9, 4)}, inputs=("ids",)))

    assert list(tensors) == ["embed.weight"]


def test_a_shared_bias_is_named_after_the_weight_beside_it(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x conv1.weight conv1.bias", "a", "n1"),
        node("Conv", "a conv2.weight conv1.bias", "b", "n2"),
        node("BatchNormalization", "b bn.weight conv1.bias conv1.bias bn.running_var", "c", "n3"),
        node("MatMul", "c fc.in_proj_weight", "d", "n4"),
        node("Add", "d conv1.bias", "y", "n5"),
    ]
    constants = {
        "conv1.weight": floats(4, 4, 3), "conv2.weight": floats(4, 4, 3), "conv1.bias": floats(4),
        "bn.weight": floats(4), "bn.running_var": floats(4), "fc.in_proj_weight": floats(4, 4),
    }  # fmt: skip

    tensors = described(saved(tmp_path, nodes, constants))

    assert [(t.name, t.hints.layer) for t in tensors.values()] == [
        ("conv1.weight", "conv1"),
        ("conv1.bias", "conv1"),
        ("conv2.weight", "conv2"),
        ("conv2.bias", "conv2"),
        ("bn.weight", "bn"),
        ("bn.bias", "bn"),
        ("bn.running_mean", "bn"),
        ("bn.running_var", "bn"),
        ("fc.in_proj_weight", "fc"),
        ("fc.in_proj_bias", "fc"),
    ]


@pytest.mark.parametrize(
    ("second", "names"),
    [
        ("/layers.1/fc/MatMul", ["layers.0.fc.weight", "layers.1.fc.weight"]),
        ("/layers.0/fc_1/MatMul", ["layers.0.fc.weight"]),
        ("/head/MatMul", ["layers.0.fc.weight"]),
        ("MatMul_7", ["layers.0.fc.weight"]),
    ],
)
def test_a_shared_matrix_is_split_only_between_modules_that_differ_by_number(
    tmp_path: Path, second: str, names: list[str]
) -> None:
    nodes = [
        node("Transpose", "layers.0.fc.weight", "t", perm=[1, 0]),
        node("MatMul", "x t", "h", "/layers.0/fc/MatMul"),
        node("Transpose", "layers.0.fc.weight", "u", perm=[1, 0]),
        node("MatMul", "h u", "y", second),
    ]

    tensors = described(saved(tmp_path, nodes, {"layers.0.fc.weight": floats(4, 4)}))

    assert list(tensors) == names


def test_real_models_stored_untrained_list_every_layer() -> None:
    if not VESPA.is_dir():
        pytest.skip(f"no real models in {VESPA}")

    encoders = described(VESPA / "dummy_transformer_mlm.onnx")
    decoder = described(VESPA / "random_decoder.onnx")

    for of_first in (n for n in list(encoders) if ".layers.0." in n):
        twin = encoders[of_first.replace(".layers.0.", ".layers.1.")]
        assert twin.shape == encoders[of_first].shape
        assert ".layers.1." in str(twin.hints.layer)
    assert len(encoders) == 27
    assert {f"onnx::MatMul_{number}" for number in range(264, 271)} <= set(encoders)
    norms = {name for name in decoder if ".norm" in name}
    assert {name.rpartition(".layers.0.")[2] for name in norms} == {
        f"norm{number}.{leaf}" for number in (1, 2, 3) for leaf in ("weight", "bias")
    }
    for name in ("dummy_transformer", "dummy_transformer_without_type_ids", "random_encoder"):
        assert OnnxReader().describe(VESPA / f"{name}.onnx").notes == ()
