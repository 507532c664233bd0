"""Readers of MXNet, Caffe, MindSpore, Darknet and MATLAB, on files from their specifications."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from other_files import (
    DARKNET_CFG,
    V1,
    V2,
    V3,
    Layers,
    darknet_weights,
    message,
    sparse_ndarray,
    varint,
    whole,
    write_caffe,
    write_darknet,
    write_mindspore,
    write_mxnet,
    write_mxnet_list,
    write_old_caffe,
)
from scipy.io import savemat

import accweight_core as aw
from accweight_adapters.caffe.reader import CaffeReader
from accweight_adapters.darknet.reader import DarknetReader
from accweight_adapters.matlab.reader import MatlabReader
from accweight_adapters.mindspore.reader import MindSporeReader
from accweight_adapters.mxnet.reader import MxnetReader
from accweight_core.errors import FormatError
from accweight_core.naming import layers_of
from accweight_core.readers import Reader, reader_for
from accweight_core.schema import Axis, Kind, Role
from accweight_core.testing import ReaderCase, ReaderContract, values_of

Arrays = dict[str, npt.NDArray[np.generic]]


def arrays() -> Arrays:
    """Return the weights of a small network, by the names that MXNet's symbols have."""
    chance = np.random.default_rng(1)
    shapes = {
        "conv0_weight": (4, 3, 3, 3),
        "conv0_bias": (4,),
        "bn0_gamma": (4,),
        "bn0_moving_mean": (4,),
        "fc1_weight": (5, 16),
        "lstm0_l0_i2h_weight": (12, 5),
        "lstm0_l0_h2h_weight": (12, 3),
    }
    return {name: chance.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def dotted(weights: Arrays) -> Arrays:
    ends = ("i2h_weight", "h2h_weight", "moving_mean", "weight", "bias", "gamma")
    names = {
        name: next(name.removesuffix(f"_{end}") + f".{end}" for end in ends if name.endswith(end))
        for name in weights
    }
    return {names[name]: values for name, values in weights.items()}


def problem_of(reader: Reader, path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        reader.describe(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- MXNet


class TestMxnet(ReaderContract):
    """A list of arrays of today's version."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network."""
        path = write_mxnet(tmp_path / "net-0001.params", arrays())
        return ReaderCase(MxnetReader(), path, dotted(arrays()))


@pytest.mark.parametrize("version", [0, V1, V2, V3])
def test_every_version_of_mxnet_gives_the_same_arrays(tmp_path: Path, version: int) -> None:
    path = write_mxnet(tmp_path / "a.params", arrays(), version)

    found = {tensor.name: tensor for tensor in MxnetReader().describe(path).tensors}

    assert reader_for(path).name == "mxnet"  # type: ignore[union-attr]
    assert list(found) == list(dotted(arrays()))
    for name, values in dotted(arrays()).items():
        np.testing.assert_array_equal(values_of(found[name]), values)


def test_a_saved_symbol_tells_arguments_from_statistics(tmp_path: Path) -> None:
    weights = {f"{'aux' if 'mean' in n else 'arg'}:{n}": v for n, v in arrays().items()}

    layers = layers_of(MxnetReader().describe(write_mxnet(tmp_path / "a", weights)).tensors)

    assert [(layer.name, layer.kind) for layer in layers] == [
        ("conv0", Kind.CONV),
        ("bn0", Kind.NORM),
        ("fc1", Kind.LINEAR),
        ("lstm0_l0", Kind.LSTM),
    ]
    assert [p.role for p in layers[1].parameters] == [Role.NORM, Role.BUFFER]
    assert layers[3].parameters[0].sections == ("i", "f", "g", "o")


def test_names_of_gluon_and_names_that_would_clash_stay(tmp_path: Path) -> None:
    one = np.ones((2, 2), np.float32)
    gluon = write_mxnet(tmp_path / "a.params", {"features.0.weight": one, "output.bias": one})
    clash = write_mxnet(tmp_path / "b.params", {"arg:a_weight": one, "aux:a_weight": one})

    assert [t.name for t in MxnetReader().describe(gluon).tensors] == [
        "features.0.weight",
        "output.bias",
    ]
    assert [t.name for t in MxnetReader().describe(clash).tensors] == [
        "arg:a_weight",
        "aux:a_weight",
    ]


def test_a_sparse_array_is_listed_with_a_way_and_the_next_one_is_found(tmp_path: Path) -> None:
    rows, indices = np.ones((2, 3), np.float32), np.array([0, 4])
    plain = struct.pack("<IiI2qiii", V2, 0, 2, 2, 2, 1, 0, 0) + np.ones((2, 2), "f4").tobytes()
    empty = struct.pack("<IiI", V2, 0, 0)
    names = [struct.pack("<Q", len(name)) + name for name in (b"s", b"none", b"w")]
    path = write_mxnet_list(
        tmp_path / "a.params", [sparse_ndarray(rows, indices, (9, 3)), empty, plain], names
    )

    description = MxnetReader().describe(path)

    sparse, dense = description.tensors
    assert (sparse.name, sparse.shape) == ("s", (9, 3))
    assert "tostype('default')" in sparse.refusal
    assert values_of(dense).tolist() == [[1, 1], [1, 1]]
    assert description.notes == ("left out 'none': empty arrays",)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (struct.pack("<Q", 1 << 40), "claims 1099511627776 arrays"),
        (struct.pack("<QI", 1, 77) + bytes(40), "which no version writes"),
        (struct.pack("<QIi", 1, V2, 7) + bytes(40), "storage type 7"),
        (struct.pack("<QIiI2q", 1, V2, 0, 2, 1 << 40, 1 << 40) + bytes(40), "number of elements"),
        (struct.pack("<QIiIqiii", 1, V2, 0, 1, 1 << 40, 1, 0, 0) + bytes(9), "cut short"),
        (struct.pack("<QIiIqiii", 1, V2, 0, 1, 1, 1, 0, 99) + bytes(9), "type 99"),
        (struct.pack("<QQQ", 0, 1, 1) + b"a", "0 arrays but 1 names"),
        (struct.pack("<QQ", 0, 0) + b"a" * 9, "9 bytes after"),
        (struct.pack("<QQ", 0, 0), "holds no arrays"),
    ],
)
def test_a_list_of_mxnet_that_cannot_be_true_is_refused(
    tmp_path: Path, body: bytes, expected: str
) -> None:
    path = tmp_path / "a.params"
    path.write_bytes(struct.pack("<QQ", 0x112, 0) + body)

    assert expected in problem_of(MxnetReader(), path)


def test_params_that_are_something_else_stay_what_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    path = (tmp_path / "a.npz").rename(tmp_path / "a.params")

    assert reader_for(path).name == "numpy"  # type: ignore[union-attr]


# ---------------------------------------------------------------- Caffe


def caffe_layers() -> Layers:
    chance = np.random.default_rng(2)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return chance.normal(size=shape).astype("f4")

    return [
        ("data", "Input", []),
        ("conv1/3x3", "Convolution", [normal(4, 3, 3, 3), normal(4)]),
        ("bn1", "BatchNorm", [normal(4), normal(4), normal(1)]),
        ("scale1", "Scale", [normal(4), normal(4)]),
        ("fc", "InnerProduct", [normal(5, 64), normal(5)]),
        ("lstm", "LSTM", [normal(12, 5), normal(12), normal(12, 3)]),
    ]


CAFFE_NAMES = {
    "conv1/3x3": ("weight", "bias"),
    "bn1": ("running_mean", "running_var", "scale_factor"),
    "scale1": ("weight", "bias"),
    "fc": ("weight", "bias"),
    "lstm": ("weight_ih", "bias", "weight_hh"),
}


def caffe_weights(layers: Layers) -> Arrays:
    return {
        f"{name}.{leaf}".replace("/", "."): values
        for name, _, blobs in layers
        for leaf, values in zip(CAFFE_NAMES.get(name, ()), blobs, strict=True)
    }


class TestCaffe(ReaderContract):
    """A network with its blobs."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network."""
        path = write_caffe(tmp_path / "net_iter_10.caffemodel", caffe_layers())
        return ReaderCase(CaffeReader(), path, caffe_weights(caffe_layers()))


@pytest.mark.parametrize("oldest", [False, True])
def test_old_models_of_caffe_have_the_same_weights(tmp_path: Path, oldest: bool) -> None:
    layers = [layer for layer in caffe_layers() if layer[1] in ("Convolution", "InnerProduct")]
    path = write_old_caffe(tmp_path / "a.caffemodel", layers, oldest=oldest)

    found = {tensor.name: tensor for tensor in CaffeReader().describe(path).tensors}

    assert CaffeReader().recognises(path)
    assert list(found) == list(caffe_weights(layers))
    for name, values in caffe_weights(layers).items():
        assert found[name].shape == values.shape
        np.testing.assert_array_equal(values_of(found[name]), values)


def test_the_type_of_a_caffe_layer_tells_what_its_blobs_are(tmp_path: Path) -> None:
    path = write_caffe(tmp_path / "a.caffemodel", caffe_layers())

    layers = {layer.name: layer for layer in layers_of(CaffeReader().describe(path).tensors)}

    assert [layer.kind for layer in layers.values()] == [
        Kind.CONV, Kind.NORM, Kind.NORM, Kind.LINEAR, Kind.LSTM,
    ]  # fmt: skip
    assert {p.role for p in layers["bn1"].parameters} == {Role.BUFFER}
    assert {p.role for p in layers["scale1"].parameters} == {Role.NORM}
    assert [p.role for p in layers["fc"].parameters] == [Role.WEIGHT, Role.BIAS]
    assert layers["fc"].parameters[0].axes == (Axis.OUTPUT, Axis.INPUT)
    assert layers["lstm"].parameters[0].sections == ("i", "f", "o", "g")


def caffe_net(*blobs: bytes) -> bytes:
    parts = message(1, "fc") + message(2, "InnerProduct")
    return message(100, parts + b"".join(message(7, each) for each in blobs))


def shaped(*sizes: int) -> bytes:
    return message(7, message(1, b"".join(map(varint, sizes))))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (message(1, "net"), "holds 0 layers without weights"),
        (message(1, "net") + message(99, b""), "has a field 99"),
        (caffe_net(shaped(2, 2) + message(5, bytes(12))), "needs 16 bytes, it has 12"),
        (caffe_net(shaped(1 << 40, 1 << 40) + message(5, bytes(4))), "number of elements"),
        (caffe_net(shaped(-1) + message(5, bytes(4))), "a shape of -1"),
        (caffe_net(shaped(1) + message(5, bytes(4)))[:-2], "cut short"),
        (caffe_net(shaped(1) + message(5, bytes(4))) * 2, "two blobs that are called 'fc.weight'"),
        (whole(100, 3), "not a message"),
    ],
)
def test_a_caffe_model_that_cannot_be_true_is_refused(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(content)

    assert expected in problem_of(CaffeReader(), path)


def test_values_of_caffe_in_pieces_are_listed_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(
        caffe_net(shaped(2) + message(5, bytes(4)) * 2, shaped(2) + message(8, bytes(16)))
    )

    weight, bias = CaffeReader().describe(path).tensors

    assert "not in one piece" in weight.refusal
    assert (bias.dtype, bias.refusal) == ("float64", "")


# ---------------------------------------------------------------- MindSpore


class TestMindSpore(ReaderContract):
    """Parameters, each in one entry."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network."""
        path = write_mindspore(tmp_path / "net-1_10.ckpt", arrays())
        return ReaderCase(MindSporeReader(), path, arrays())


def test_parameters_of_mindspore_in_pieces_are_put_together(tmp_path: Path) -> None:
    tail = b"crc_num" + varint(123456)
    path = write_mindspore(tmp_path / "a.ckpt", arrays(), piece=100, tail=tail)

    found = {tensor.name: tensor for tensor in MindSporeReader().describe(path).tensors}

    for name, values in arrays().items():
        np.testing.assert_array_equal(values_of(found[name]), values)


def test_what_mindspore_saves_of_training_is_step_measure_or_left_out(tmp_path: Path) -> None:
    for step in (10, 20):
        weight = np.full((2, 3), step, np.float32)
        others = {
            "moment1.fc.weight": weight,
            "fc.weight": weight,
            "step_num": np.array(step),
            "learning_rate": np.float32(0.5),
            "beta1_power": np.float32(0.1),
        }
        write_mindspore(
            tmp_path / f"net-{step}.ckpt", {k: np.asarray(v) for k, v in others.items()}
        )

    run = aw.open_run(tmp_path)

    assert [p.name for p in run.parameters] == ["fc.weight"]
    assert run.steps.tolist() == [10, 20]
    assert run.checkpoints[0].measures == {"learning_rate": 0.5}
    assert run.notes == (
        "2 checkpoints: left out 'beta1_power', 'moment1.fc.weight': training state, not weights",
    )


def mindspore_tensor(kind: str, dims: tuple[int, ...], content: bytes) -> bytes:
    tensor = b"".join(whole(1, n) for n in dims) + message(2, kind) + message(3, content)
    return message(1, message(1, "w") + message(2, tensor))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (mindspore_tensor("Float32", (2, 2), bytes(12)), "needs 16 bytes, it has 12"),
        (mindspore_tensor("Float32", (1 << 40, 1 << 40), bytes(4)), "number of elements"),
        (mindspore_tensor("Str", (1,), b"text"), "holds no parameters"),
        (mindspore_tensor("Float32", (1,), bytes(4))[:-1], "cut short"),
        (message(1, message(1, "w")), "hash map"),
        (message(1, message(2, b"")), "without a name"),
        (message(2, b""), "has a field 2"),
        (
            mindspore_tensor("Float32", (1,), bytes(4)) + mindspore_tensor("Int8", (1,), bytes(1)),
            "two parameters that are called 'w'",
        ),
    ],
)
def test_a_checkpoint_of_mindspore_that_cannot_be_true_is_refused(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)

    assert expected in problem_of(MindSporeReader(), path)


# ---------------------------------------------------------------- Darknet


class TestDarknet(ReaderContract):
    """Floats whose shapes are in the configuration beside them."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network."""
        path = write_darknet(tmp_path / "net.weights", darknet_weights())
        return ReaderCase(DarknetReader(), path, darknet_weights())


def test_darknet_weights_get_layers_in_network_order(tmp_path: Path) -> None:
    path = write_darknet(tmp_path / "net_1000.weights", darknet_weights())

    description = DarknetReader().describe(path)
    layers = layers_of(description.tensors)

    assert [(layer.name, layer.kind) for layer in layers] == [
        ("layers.0.conv", Kind.CONV),
        ("layers.0.bn", Kind.NORM),
        ("layers.2.conv", Kind.CONV),
        ("layers.4.conv", Kind.CONV),
        ("layers.5.linear", Kind.LINEAR),
    ]
    assert [p.name.rpartition(".")[2] for p in layers[2].parameters] == ["weight", "bias"]
    assert (description.step, description.step_key) == (10, "images seen / batch of 8")
    assert description.beside == (str(tmp_path / "net.cfg"),)


def test_a_run_of_darknet_is_ordered_by_the_images_seen(tmp_path: Path) -> None:
    for step in (100, 200, 1000):
        write_darknet(tmp_path / f"net_{step}.weights", darknet_weights(step), seen=8 * step)

    run = aw.open_run(tmp_path)

    assert run.steps.tolist() == [100, 200, 1000]
    assert run.reader == "darknet"


def test_the_first_version_of_darknet_counts_images_in_four_bytes(tmp_path: Path) -> None:
    path = write_darknet(tmp_path / "net.weights", darknet_weights(), minor=1)

    found = {tensor.name: tensor for tensor in DarknetReader().describe(path).tensors}

    for name, values in darknet_weights().items():
        np.testing.assert_array_equal(values_of(found[name]), values)


def test_the_first_layers_alone_are_read_and_noted(tmp_path: Path) -> None:
    first = dict(list(darknet_weights().items())[:7])
    path = write_darknet(tmp_path / "net.weights", first)

    description = DarknetReader().describe(path)

    assert {tensor.name for tensor in description.tensors} == set(first)
    (note,) = description.notes
    assert note.startswith("holds the first 2 layers with weights of net.cfg, which has 2 more")


def test_darknet_weights_without_their_configuration_say_what_they_need(tmp_path: Path) -> None:
    path = write_darknet(tmp_path / "yolo_1000.weights", darknet_weights())
    (tmp_path / "net.cfg").unlink()

    assert DarknetReader().recognises(path)
    assert "copy that beside it as yolo.cfg" in problem_of(DarknetReader(), path)


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        (DARKNET_CFG.replace("filters=6", "filters=8"), "needs"),
        (DARKNET_CFG.replace("filters=6", "filters=7"), "11 channels into 2 groups"),
        (DARKNET_CFG.replace("filters=6", "filters=99999999999"), "which cannot be true"),
        (DARKNET_CFG.replace("filters=6", "filters=-6"), "which cannot be true"),
        (DARKNET_CFG.replace("layers=-1,-3", "layers=-9"), "not before it"),
        (DARKNET_CFG.replace("[softmax]", "[crnn]"), "[crnn], whose weights are not known here"),
        (DARKNET_CFG.replace("[net]", "[data]"), "does not begin with [net]"),
        (DARKNET_CFG + "\nnonsense\n", "which is no option"),
        (DARKNET_CFG.replace("width=8", ""), "cannot be told"),
        (DARKNET_CFG.replace("channels=3", ""), "cannot be told"),
        ("", "does not begin with [net]"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, cfg: str, expected: str
) -> None:
    path = write_darknet(tmp_path / "net.weights", darknet_weights())
    (tmp_path / "net.cfg").write_text(cfg)

    assert expected in problem_of(DarknetReader(), path)


# ---------------------------------------------------------------- MATLAB


def matlab_arrays() -> Arrays:
    chance = np.random.default_rng(3)
    return {
        "W1": chance.normal(size=(4, 6)),
        "filters": chance.normal(size=(3, 3, 2, 5)).astype("f4"),
        "b1": chance.normal(size=6),
    }


class TestMatlab(ReaderContract):
    """Arrays by name, uncompressed."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return three arrays."""
        savemat(tmp_path / "a.mat", matlab_arrays(), oned_as="row")
        return ReaderCase(MatlabReader(), tmp_path / "a.mat", matlab_arrays())


class TestMatlabCompressed(ReaderContract):
    """Arrays by name, compressed."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return three arrays."""
        savemat(tmp_path / "a.mat", matlab_arrays(), oned_as="column", do_compression=True)
        return ReaderCase(MatlabReader(), tmp_path / "a.mat", matlab_arrays())


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_in_structures_and_cells_are_found_by_their_path(
    tmp_path: Path, compressed: bool
) -> None:
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.full((2, 3), 7.0), "text"
    net = {"layers": {"weights": cells, "name": "conv"}, "bias": np.arange(3.0)}
    savemat(tmp_path / "a.mat", {"net": net, "epoch": 4, "loss": 0.25}, do_compression=compressed)

    description = MatlabReader().describe(tmp_path / "a.mat")

    found = {tensor.name: values_of(tensor).tolist() for tensor in description.tensors}
    assert found == {"net.layers.weights.1": [[7.0] * 3] * 2, "net.bias": [0.0, 1.0, 2.0]}
    assert (description.step, description.measures) == (4, {"loss": 0.25})


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1, 4)])
def test_matrices_of_one_row_or_column_keep_their_axes(
    tmp_path: Path, shape: tuple[int, ...], compressed: bool
) -> None:
    values = np.arange(float(np.prod(shape))).reshape(shape)
    weights = {"net": {"W2": values, "b2": values, "readout": values, "gamma": values}}
    savemat(tmp_path / "a.mat", weights, do_compression=compressed)
    write_hdf5_mat(tmp_path / "b.mat", {f"net.{n}": v for n, v in weights["net"].items()})

    for name in ("a.mat", "b.mat"):
        description = MatlabReader().describe(tmp_path / name)
        tensors = {t.name.removeprefix("net."): t for t in description.tensors}
        flat = (5,) if len(shape) == 2 else shape
        assert {name: tensor.shape for name, tensor in tensors.items()} == {
            "W2": shape, "b2": flat, "readout": shape, "gamma": flat
        }  # fmt: skip
        for tensor in tensors.values():
            np.testing.assert_array_equal(values_of(tensor), values.reshape(tensor.shape))


def test_a_run_of_matlab_files_is_measured_as_its_arrays(tmp_path: Path) -> None:
    for step in range(3):
        values = np.arange(12.0).reshape(3, 4) * step
        savemat(tmp_path / f"step_{step}.mat", {"W": values}, do_compression=step == 1)

    analysis = aw.analyze(tmp_path)

    assert analysis.ranking("mean")["mean"].tolist() == [11.0]


def test_sparse_and_complex_arrays_are_listed_with_a_way(tmp_path: Path) -> None:
    from scipy.sparse import csc_matrix

    savemat(tmp_path / "a.mat", {"s": csc_matrix(np.eye(3)), "c": np.ones((2, 2)) * 1j})

    refusals = {t.name: t.refusal for t in MatlabReader().describe(tmp_path / "a.mat").tensors}

    assert refusals == {
        "s": "it is sparse; save it with full(...)",
        "c": "it is complex; save its real and imaginary parts",
    }


def write_hdf5_mat(path: Path, weights: Arrays) -> Path:
    """Write what MATLAB 7.3 does: HDF5 with axes in reverse, after a header."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in weights.items():
            packed = {"compression": "gzip"} if values.ndim == 4 else {}
            file.create_dataset(name.replace(".", "/"), data=np.atleast_2d(values).T, **packed)
            file[name.replace(".", "/")].attrs["MATLAB_class"] = np.bytes_("double")
        cells = file.create_dataset("cells", data=np.zeros((1, 2), np.uint64))
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        file.create_dataset("#refs#/a", data=np.ones(3))
    raw = bytearray(path.read_bytes())
    raw[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM"
    path.write_bytes(raw)
    return path


class TestMatlabHdf5(ReaderContract):
    """Arrays of MATLAB 7.3."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return three arrays, one in a structure."""
        weights = {f"net.{name}": values for name, values in matlab_arrays().items()}
        path = write_hdf5_mat(tmp_path / "a.mat", weights)
        return ReaderCase(MatlabReader(), path, weights)


def test_cells_of_matlab_hdf5_are_left_out_with_a_note(tmp_path: Path) -> None:
    description = MatlabReader().describe(write_hdf5_mat(tmp_path / "a.mat", matlab_arrays()))

    assert {tensor.name for tensor in description.tensors} == {*matlab_arrays()}
    assert description.notes == ("left out 'cells': cells, text or objects, not numbers",)


def test_a_compressed_bomb_is_refused_without_being_inflated(tmp_path: Path) -> None:
    import zlib

    head = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + b"\x00\x01IM"
    inner = struct.pack("<II", 14, (1 << 31) - 8) + struct.pack("<IIII", 6, 8, 6, 0)
    inner += struct.pack("<IIii", 5, 8, 1 << 14, 1 << 14) + struct.pack("<I4s", 1 | 1 << 16, b"W")
    inner += struct.pack("<II", 9, 1 << 31) + bytes(1 << 20)
    packed = zlib.compress(inner)
    path = tmp_path / "a.mat"
    path.write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)

    assert "more than are left" in problem_of(MatlabReader(), path)


def test_a_mat_file_with_nothing_but_text_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"note": "text"})

    assert "holds no arrays of numbers" in problem_of(MatlabReader(), tmp_path / "a.mat")
