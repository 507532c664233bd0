"""The reader of ONNX Runtime's checkpoints, on files that the library wrote.

`tests/data/ort` was written by onnxruntime-training itself (see its generator), so that these
tests run where the library cannot be installed.
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from fuzzing import is_refused
from train_models import model, node

import accweight_core as aw
from accweight_adapters.ort.reader import OrtReader
from accweight_core.errors import FormatError
from accweight_core.runs.inspection import inspected
from accweight_core.schema import Extent, Kind
from accweight_core.testing import ReaderCase, ReaderContract, values_of

DATA = Path(__file__).parent / "data" / "ort"
READER = OrtReader()
LARGE = 250_000_000


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint with properties, a frozen layer and the state of an optimizer."""
    return Path(shutil.copy(DATA / "with_optimizer", tmp_path / "epoch_7.ckpt"))


def network(folder: Path, name: str) -> Path:
    """Write the network of the checkpoint, its parameters as inputs, in another order."""
    parameters = {"fc2.weight": (2, 3), "fc2.bias": (2,), "fc1.weight": (3, 4), "fc1.bias": (3,)}
    nodes = [
        node("Gemm", "x fc1.weight fc1.bias", "h", transB=1),
        node("Gemm", "h fc2.weight fc2.bias", "y", transB=1),
    ]
    proto = model(nodes, {}, inputs={"x": ("n", 4), **parameters}, outputs={"y": ("n", 2)})
    onnx.save(proto, folder / name)
    return folder / name


class TestOrtReader(ReaderContract):
    """The rules for all readers."""

    @pytest.fixture
    def case(self, checkpoint: Path) -> ReaderCase:
        """A checkpoint whose values the library has stored beside it."""
        with np.load(DATA / "with_optimizer.npz") as weights:
            return ReaderCase(READER, checkpoint, dict(weights))


def test_step_and_measures_come_from_the_properties(checkpoint: Path) -> None:
    described = READER.describe(checkpoint)

    assert (described.step, described.step_key) == (7, "properties.epoch")
    assert described.measures == {"loss": 0.25}
    assert described.format == "ONNX Runtime checkpoint"


def test_frozen_parameters_are_there_and_the_optimizer_is_not(checkpoint: Path) -> None:
    described = READER.describe(checkpoint)

    names = [tensor.name for tensor in described.tensors]
    assert names == ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]
    assert described.notes == ("left out the state of the optimizer: training state, not weights",)


def test_values_are_stretches_of_the_file(checkpoint: Path) -> None:
    for tensor in READER.describe(checkpoint).tensors:
        assert isinstance(tensor.values, Extent)
        assert tensor.values.path == str(checkpoint)


@pytest.mark.parametrize("name", ["network.onnx", "eval_model.onnx"])
def test_the_network_beside_it_tells_kinds_axes_and_order(checkpoint: Path, name: str) -> None:
    network(checkpoint.parent, name)

    described = READER.describe(checkpoint)

    names = [tensor.name for tensor in described.tensors]
    assert names == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert {tensor.hints.kind for tensor in described.tensors} == {Kind.LINEAR}
    assert described.tensors[0].hints.axes is not None
    assert [str(axis) for axis in described.tensors[0].hints.axes] == ["output", "input"]


def test_a_damaged_network_beside_it_takes_nothing_but_the_kinds(checkpoint: Path) -> None:
    path = network(checkpoint.parent, "network.onnx")
    path.write_bytes(path.read_bytes()[:-40])

    described = READER.describe(checkpoint)

    assert len(described.tensors) == 4
    assert any("network.onnx beside it cannot be used" in note for note in described.notes)


def test_a_folder_with_the_artifacts_of_the_runtime_is_one_run(checkpoint: Path) -> None:
    folder = checkpoint.parent
    shutil.copy(checkpoint, folder / "epoch_8.ckpt")
    for name in ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx"):
        network(folder, name)

    found = inspected(folder).to_json()

    assert [Path(c["path"]).name for c in found["checkpoints"]] == ["epoch_7.ckpt", "epoch_8.ckpt"]
    assert {layer["kind"] for layer in found["layers"]} == {"linear"}


def test_models_of_others_beside_it_are_still_files_of_another_format(checkpoint: Path) -> None:
    network(checkpoint.parent, "mine.onnx")

    with pytest.raises(aw.errors.MismatchError, match=r"onnx: mine\.onnx; ort: epoch_7\.ckpt"):
        inspected(checkpoint.parent)


def test_checkpoints_without_suffix_are_found_among_other_files(tmp_path: Path) -> None:
    for epoch in (2, 10):
        folder = tmp_path / f"epoch_{epoch}"
        folder.mkdir()
        shutil.copy(DATA / "with_optimizer", folder / "checkpoint")
        (folder / "LICENSE").write_text("do what you like\n")

    run = aw.open_run(tmp_path, skip=["fc1*"])

    assert [Path(c.path).parent.name for c in run.checkpoints] == ["epoch_2", "epoch_10"]


def test_a_nominal_checkpoint_is_refused_because_it_holds_no_values() -> None:
    with pytest.raises(FormatError, match="nominal checkpoint: it names parameters but holds no"):
        READER.describe(DATA / "nominal_checkpoint")


# ---------------------------------------------------------------- external data


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A checkpoint of 2 GB as the library divides it; the large file has holes."""
    path = Path(shutil.copy(DATA / "external", tmp_path / "epoch_1"))
    with path.with_name("epoch_1.data").open("wb") as file:
        file.truncate(8 * LARGE)
        file.seek(4 * LARGE + 40)
        file.write(struct.pack("<f", 2.5))
    return path


def test_values_in_a_second_file_are_found_there(external: Path) -> None:
    described = READER.describe(external)

    by_name = {tensor.name: tensor for tensor in described.tensors}
    large = by_name["b.weight"].values
    assert isinstance(large, Extent)
    assert (large.path, large.offset) == (f"{external}.data", 4 * LARGE)
    assert described.files == (str(external), f"{external}.data")
    np.testing.assert_array_equal(values_of(by_name["a.bias"]), [0, 1, 2])
    with open(large.path, "rb") as file:
        file.seek(large.offset + 40)
        assert struct.unpack("<f", file.read(4)) == (2.5,)


def test_a_second_file_that_is_missing_is_named(external: Path) -> None:
    external.with_name("epoch_1.data").unlink()

    with pytest.raises(FormatError, match=r"its values lie in epoch_1\.data beside it, which"):
        READER.describe(external)


def test_a_second_file_that_is_too_short_is_named(external: Path) -> None:
    with external.with_name("epoch_1.data").open("rb+") as file:
        file.truncate(8 * LARGE - 1)

    with pytest.raises(FormatError, match=r"should reach to byte 2000000000 of epoch_1\.data"):
        READER.describe(external)


def test_a_second_file_that_is_a_folder_is_refused(external: Path) -> None:
    external.with_name("epoch_1.data").unlink()
    external.with_name("epoch_1.data").mkdir()

    with pytest.raises(FormatError, match=r"which is not a plain file"):
        READER.describe(external)


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["with_optimizer", "external"])
def test_every_cut_and_every_flipped_bit_is_refused_or_within_bounds(
    name: str, tmp_path: Path
) -> None:
    content = (DATA / name).read_bytes()
    path = tmp_path / "broken.ckpt"
    path.with_name("broken.ckpt.data").write_bytes(bytes(64))
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        is_refused(READER, path)
    for place in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        is_refused(READER, path)


def test_a_shape_that_needs_more_bytes_than_there_are_is_refused(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    place = content.find(struct.pack("<IQQ", 2, 3, 4))  # the shape of fc1.weight
    content[place + 4 : place + 12] = struct.pack("<Q", 2**40)
    checkpoint.write_bytes(content)

    with pytest.raises(FormatError, match=r"tensor 'fc1\.weight' needs 17592186044416 bytes"):
        READER.describe(checkpoint)


def test_a_shape_that_needs_fewer_bytes_than_there_are_is_refused(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    place = content.find(struct.pack("<IQQ", 2, 3, 4))
    content[place + 4 : place + 12] = struct.pack("<Q", 2)
    checkpoint.write_bytes(content)

    with pytest.raises(FormatError, match="needs 32 bytes for its shape, it has 48"):
        READER.describe(checkpoint)


# ---------------------------------------------------------------- the library itself


def test_values_are_those_that_the_library_loads(tmp_path: Path) -> None:
    api = pytest.importorskip(
        "onnxruntime.training.api", reason="onnxruntime-training is not installed"
    )
    blocks = pytest.importorskip("onnxruntime.training.onnxblock")
    chance = np.random.default_rng(5)
    kinds = {"a.weight": np.float32, "c": np.float64, "n": np.int64}
    tensors = [
        onnx.numpy_helper.from_array(chance.standard_normal((3, 5)).astype(kind), name)
        for name, kind in kinds.items()
    ]
    tensors.append(onnx.numpy_helper.from_array(np.float32(1.5), "scalar"))
    blocks.save_checkpoint((tensors[:1], tensors[1:]), tmp_path / "checkpoint")
    state = api.CheckpointState.load_checkpoint(tmp_path / "checkpoint")

    described = {t.name: t for t in READER.describe(tmp_path / "checkpoint").tensors}

    assert described.keys() == {name for name, _ in state.parameters}
    for name, parameter in state.parameters:
        assert described[name].shape == parameter.data.shape
        if name != "n":
            np.testing.assert_array_equal(values_of(described[name]), parameter.data)
