"""The ONNX reader: models of every exporter described, other files refused, damage survived."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_models import described, floats, layers, node, read, saved
from torch import nn

from accweight_adapters.onnx.reader import OnnxReader
from accweight_core.errors import FormatError
from accweight_core.schema import Axis, Extent, Kind, Role
from accweight_core.testing import ReaderCase, ReaderContract

SHARED = Path(__file__).parents[2] / "shared" / "data"
OUT, IN = Axis.OUTPUT, Axis.INPUT


class Network(nn.Module):
    """A small network with every common kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 5, batch_first=True)
        self.fc = nn.Linear(5, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify images row by row."""
        rows = torch.relu(self.norm(self.conv(image))).mean(1)
        return self.fc(self.gru(self.lstm(rows)[0])[0][:, -1])


class Perceptron(nn.Module):
    """Linear layers in a Sequential, batch norm in between, one of them without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(10, 20), nn.ReLU(), nn.BatchNorm1d(20), nn.Linear(20, 2, bias=False)
        )

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Classify vectors."""
        return self.net(batch)


def exported(model: nn.Module, sample: torch.Tensor, path: Path, *, dynamo: bool) -> Path:
    torch.manual_seed(0)
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters warn of their own future
        torch.onnx.export(model.eval(), (sample,), path, dynamo=dynamo, **options)
    return path


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_network_exported_from_torch_has_the_layers_its_author_wrote(
    tmp_path: Path, dynamo: bool
) -> None:
    path = exported(Network(), torch.randn(2, 1, 8, 8), tmp_path / "n.onnx", dynamo=dynamo)

    tensors = list(described(path).values())

    kinds = {str(tensor.hints.layer): tensor.hints.kind for tensor in tensors}
    assert kinds == {"conv": Kind.CONV, "lstm": Kind.LSTM, "gru": Kind.GRU, "fc": Kind.LINEAR}
    assert [tensor.hints.role for tensor in tensors] == (
        [Role.WEIGHT, Role.BIAS]
        + 2 * [Role.WEIGHT, Role.WEIGHT, Role.BIAS]
        + [Role.WEIGHT, Role.BIAS]
    )
    recurrent = tensors[2]
    assert recurrent.shape == (2, 24, 8)
    assert recurrent.hints.axes == (Axis.DIRECTION, OUT, IN)
    assert recurrent.hints.sections == ("i", "o", "f", "c")
    assert tensors[5].hints.sections == ("z", "r", "h")
    assert tensors[7].hints.sections == ("z", "r", "h", "rz", "rr", "rh")


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_perceptron_exported_from_torch_keeps_the_values_of_its_weights(
    tmp_path: Path, dynamo: bool
) -> None:
    model = Perceptron()
    path = exported(model, torch.randn(3, 10), tmp_path / "p.onnx", dynamo=dynamo)

    tensors = described(path)

    assert list(layers(tensors)) == ["net.0", "net.2", "net.3"]
    assert tensors["net.2.weight"].hints.kind is Kind.NORM
    first = tensors["net.0.weight"]
    assert first.hints.axes == (OUT, IN)
    assert np.array_equal(read(first), model.net[0].weight.detach().numpy())
    last = next(t for t in tensors.values() if t.hints.layer == "net.3")
    stored = read(last) if last.hints.axes == (OUT, IN) else read(last).T
    assert np.array_equal(stored, model.net[3].weight.detach().numpy())


def test_the_step_is_read_from_the_models_metadata(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Relu", "x")], {})
    model = onnx.load(path)
    helper.set_model_props(model, {"author": "a", "epoch": "3", "global_step": " 900 "})
    onnx.save(model, path)

    description = OnnxReader().describe(path)

    assert (description.step, description.step_key) == (900, "metadata_props 'global_step'")


class TestContract(ReaderContract):
    """What every reader must do, with the weights inside the model and beside it."""

    @pytest.fixture(params=["inline", "external"])
    def case(self, tmp_path: Path, request: pytest.FixtureRequest) -> ReaderCase:
        """Return a model of two layers."""
        weights = {"a.weight": floats(30, 20), "a.bias": floats(30), "b.weight": floats(5, 30)}
        nodes = [
            node("Gemm", "x a.weight a.bias", "h", transB=1),
            node("Gemm", "h b.weight", transB=1),
        ]
        beside = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
        options = beside if request.param == "external" else {}
        return ReaderCase(OnnxReader(), saved(tmp_path, nodes, dict(weights), **options), weights)


def test_models_are_recognised_whatever_they_are_called(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Relu", "x")], {"w": floats(99)})
    renamed = path.rename(tmp_path / "model.bin")
    (tmp_path / "cut.onnx").write_bytes(renamed.read_bytes()[:60])

    assert OnnxReader().recognises(renamed)
    assert OnnxReader().recognises(tmp_path / "cut.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(60),
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x89HDF\r\n\x1a\n" + bytes(60),
        b'{"a": 1}',
        b'\x08\x01\x00\x00\x00\x00\x00\x00{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"\x08\x07\x12\x05\x00\x00\x00\x00" + b'{"a":' + b" " * 99,
        b"\x80\x02ctorch\n",
        b"GGUF" + bytes(60),
        b"\x08\x01\x12\x80\x01" + bytes(200),
        numpy_helper.from_array(np.zeros((3, 3), np.float32), "a").SerializeToString(),
        b"\x08" * 64,
    ],
)
def test_other_files_are_not_taken_for_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert not OnnxReader().recognises(path)
    with pytest.raises(FormatError):
        OnnxReader().describe(path)


def test_a_model_that_was_cut_short_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("MatMul", "x a.weight")], {"a.weight": floats(9, 9)})
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(FormatError, match=r"model\.onnx: .* it was cut short .*export it again"):
        OnnxReader().describe(path)


def test_a_folder_and_a_missing_file_are_not_recognised(tmp_path: Path) -> None:
    assert not OnnxReader().recognises(tmp_path)
    assert not OnnxReader().recognises(tmp_path / "none.onnx")


def test_messages_nested_without_end_are_refused(tmp_path: Path) -> None:
    def wrapped(tag: int, body: bytes) -> bytes:
        length = len(body)
        size = bytearray()
        while length > 0x7F:
            size.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([tag, *size, length]) + body

    graph = b""
    for _ in range(2000):
        graph = wrapped(0x0A, wrapped(0x2A, wrapped(0x32, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x0a" + wrapped(0x3A, graph))

    with pytest.raises(FormatError, match="nested more than"):
        OnnxReader().describe(path)


def shared_models() -> list[Path]:
    return sorted((SHARED / "onnx").glob("*/*.onnx"))


def test_real_models_read_bit_for_bit() -> None:
    if not shared_models():
        pytest.skip(f"no real models in {SHARED / 'onnx'}")

    for path in shared_models():
        initializers = {t.name: t for t in onnx.load(path).graph.initializer}
        for name, tensor in described(path).items():
            assert tensor.refusal == "", (path, name)
            if name in initializers and isinstance(tensor.values, Extent):
                assert read(tensor).tobytes() == numpy_helper.to_array(initializers[name]).tobytes()


def test_real_models_name_every_weight_of_two_axes_or_more() -> None:
    if not shared_models():
        pytest.skip(f"no real models in {SHARED / 'onnx'}")

    for path in shared_models():
        named = described(path)
        for tensor in onnx.load(path).graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) > 64:
                assert tensor.name in named, (path, tensor.name)


def test_the_same_weights_are_found_in_both_forms_of_silero() -> None:
    folder = SHARED / "onnx" / "silero_vad"
    if not folder.is_dir():
        pytest.skip(f"no real models in {folder}")
    if_branches, plain = (
        described(folder / "silero_vad.onnx"),
        described(folder / "silero_vad_16k_op15.onnx"),
    )

    twins = {n.removeprefix("If_0_then_branch__Inline_0__"): t for n, t in if_branches.items()}

    for name, tensor in plain.items():
        twin = twins[name.removeprefix("model.")]
        assert (twin.hints.kind, twin.hints.role) == (tensor.hints.kind, tensor.hints.role)
        assert np.array_equal(read(twin), read(tensor))


@pytest.mark.parametrize(
    ("name", "reason"), [("empty", "0 bytes"), ("lfs_pointer", "git lfs pull")]
)
def test_real_bad_files_say_what_is_wrong(name: str, reason: str) -> None:
    path = SHARED / "bad" / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no bad files in {SHARED / 'bad'}")

    with pytest.raises(FormatError, match=reason):
        OnnxReader().describe(path)
