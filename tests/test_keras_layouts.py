"""The Keras reader on files written by hand: Keras 2, odd links and lists, lies and damage."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import is_refused, mutations

pytest.importorskip("h5py")

import h5py
import keras_files
from keras_files import write_archive, write_keras2, write_keras3

import accweight_core as aw
from accweight_adapters.keras.config import Configuration, snake_case
from accweight_adapters.keras.reader import KerasReader
from accweight_adapters.keras.variables import variable_names
from accweight_core.errors import FormatError
from accweight_core.naming import layers_of
from accweight_core.schema import Axis, HiddenValues, Kind, Role
from accweight_core.testing import values_of

READER = KerasReader()
FUZZED = 140
"""Damaged copies per layout."""

MOST_BYTES = 48 << 20
"""Memory that no damaged file of some ten kilobytes may need; deflate states are large."""

WEIGHTS = keras_files.weights()
ORDER = ["conv", "words", "lstm", "fc"]


def deflated(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write_archive(path, arrays, method=zipfile.ZIP_DEFLATED)


def chunked(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write_keras3(path, arrays, chunks=True, compression="gzip", shuffle=True)


def weights_alone(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write_keras2(path, arrays, None, whole=False)


LAYOUTS: dict[str, tuple[str, Callable[..., Path]]] = {
    "Keras 3 weights": ("a.weights.h5", write_keras3),
    "Keras 3 weights, compressed": ("a.weights.h5", chunked),
    "Keras archive": ("a.keras", write_archive),
    "Keras archive, compressed": ("a.keras", deflated),
    "Keras 2 model": ("a.h5", write_keras2),
    "Keras 2 weights": ("a.hdf5", weights_alone),
}


def problem_of(path: Path) -> str:
    """Return the message for a file that must be refused, having checked its form."""
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_weights_and_layers(tmp_path: Path, layout: str) -> None:
    name, write = LAYOUTS[layout]

    description = READER.describe(write(tmp_path / name, WEIGHTS))

    kept = [t for t in description.tensors if t.hints.role is not Role.OPTIMIZER]
    assert [t.name for t in kept] == list(WEIGHTS)
    for tensor in kept:
        np.testing.assert_array_equal(values_of(tensor), WEIGHTS[tensor.name], strict=True)
        is_hidden = isinstance(tensor.values, HiddenValues)
        assert is_hidden == layout.endswith("compressed")
    layers = layers_of(kept)
    assert [layer.name for layer in layers] == ORDER
    assert [layer.kind for layer in layers] == [
        Kind.CONV, Kind.EMBEDDING, Kind.LSTM, Kind.LINEAR,
    ]  # fmt: skip
    if layout == "Keras 2 weights":
        assert (description.step, description.step_key) == (None, "")
    else:
        assert description.step == 7
    if "Keras 3" in layout or "archive" in layout:
        assert description.measures == {"learning_rate": 0.25}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_a_run(tmp_path: Path, layout: str) -> None:
    name, write = LAYOUTS[layout]
    for step in range(3):
        moved = {key: values + step for key, values in WEIGHTS.items()}
        write(tmp_path / f"epoch_{step}_{name}", moved)

    run = aw.open_run(tmp_path)

    assert (run.reader, list(run.steps)) == ("keras", [0, 1, 2])
    ranking = aw.analyze(run).ranking()
    assert set(ranking["layer"]) == set(ORDER)
    assert ranking["mean"].to_numpy() == pytest.approx(2, rel=1e-6)


# ---------------------------------------------------------------- Keras 2


def test_long_lists_of_names_are_put_together(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names0"] = np.array([b"first", b"second"])
        file.attrs["layer_names1"] = np.array([b"third"])
        for layer in ("first", "second", "third"):
            group = file.create_group(layer)
            group.attrs["weight_names0"] = np.array([f"{layer}/kernel:0".encode()])
            group.attrs["weight_names1"] = np.array([f"{layer}/bias:0".encode()])
            group[f"{layer}/kernel:0"] = np.ones((3, 2), "f4")
            group[f"{layer}/bias:0"] = np.ones(2, "f4")

    names = [tensor.name for tensor in READER.describe(tmp_path / "a.h5").tensors]

    assert names == [
        f"{layer}.{leaf}" for layer in ("first", "second", "third") for leaf in ("kernel", "bias")
    ]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("dense/kernel:0", "dense.kernel"),
        ("net/dense/kernel:0", "dense.kernel"),
        ("dense/dense/kernel:0", "dense.kernel"),
        ("inner/conv/kernel:0", "dense.inner.conv.kernel"),
        ("kernel", "dense.kernel"),
        ("lstm_cell_3/kernel:0", "dense.lstm_cell_3.kernel"),
    ],
)
def test_variables_are_named_from_their_layer_on(
    tmp_path: Path, weight: str, expected: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file.create_group("dense").attrs["weight_names"] = [weight]
        file[f"dense/{weight}"] = np.ones((3, 2), "f4")

    (tensor,) = READER.describe(tmp_path / "a.h5").tensors

    assert tensor.name == expected


def _nameless(file: Any) -> None:
    file["dense"].attrs["weight_names"] = [":0"]
    file["dense/:0"] = np.ones(3)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda f: f.attrs.__setitem__("layer_names", ["gone"]), "lists a layer 'gone'"),
        (lambda f: f["dense"].attrs.__setitem__("weight_names", ["gone"]),
         "lists a variable 'gone' of layer 'dense', which it does not hold"),
        (lambda f: f["dense"].attrs.__setitem__("weight_names", ["dense"]),
         "lists a variable 'dense'"),
        (_nameless, "lists a variable without a name"),
        (lambda f: f["dense"].attrs.__setitem__("weight_names", ["dense/kernel:0"] * 2),
         "two variables that are called 'dense.kernel'"),
        (lambda f: f.attrs.__delitem__("layer_names"), "holds no weights of Keras"),
        (lambda f: f["dense"].attrs.__delitem__("weight_names"), "holds no weights of Keras"),
    ],
)  # fmt: skip
def test_lists_that_lie_are_refused(
    tmp_path: Path, spoil: Callable[[Any], None], expected: str
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file.create_group("dense").attrs["weight_names"] = ["dense/kernel:0"]
        file["dense/dense/kernel:0"] = np.ones((3, 2), "f4")
        spoil(file)

    assert expected in problem_of(path)


def test_other_hdf5_files_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.ones((3, 2))

    assert READER.recognises(tmp_path / "a.h5")
    assert problem_of(tmp_path / "a.h5").endswith(
        "holds no weights of Keras: neither layer_names nor groups of variables"
    )


# ---------------------------------------------------------------- links


def test_groups_that_contain_themselves_are_walked_once(tmp_path: Path) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", WEIGHTS)
    with h5py.File(path, "a") as file:
        file["layers/loop"] = file["layers"]
        file["layers/conv2d/again"] = h5py.SoftLink("/layers")
        file["layers/dense/soft"] = h5py.SoftLink("/layers/dense/soft")

    description = READER.describe(path)

    assert {t.name for t in description.tensors if t.hints.role is not Role.OPTIMIZER} == {*WEIGHTS}
    assert description.notes == ("left out 2 groups that are linked a second time",)


def test_a_doubling_ladder_of_groups_takes_no_time(tmp_path: Path) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", WEIGHTS)
    with h5py.File(path, "a") as file:
        rung = file["layers"]
        for _ in range(25):
            below = rung.create_group("left")
            rung["right"] = below
            rung = below

    assert READER.describe(path).notes == ("left out 25 groups that are linked a second time",)


def test_groups_nested_without_reason_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/".join(["a"] * 60) + "/vars/0"] = np.ones(3)

    assert "nests its groups more than 32 deep" in problem_of(tmp_path / "a.h5")


def test_a_link_into_another_file_is_refused(tmp_path: Path) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", WEIGHTS)
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/2"] = h5py.ExternalLink("/etc/passwd", "/")

    assert "has a link '2' into another file" in problem_of(path)


# ---------------------------------------------------------------- names that nothing gives


def test_layers_of_one_name_are_told_apart_by_their_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for key in ("blocks/block", "blocks/block_1"):
            file[f"{key}/vars/0"] = np.ones((3, 2), "f4")
            file[f"{key}/vars/1"] = np.ones(2, "f4")
            file[f"{key}/vars"].attrs["name"] = "block"

    names = [tensor.name for tensor in READER.describe(tmp_path / "a.weights.h5").tensors]

    assert names == [
        "blocks.block.kernel", "blocks.block.bias", "blocks.block_1.kernel", "blocks.block_1.bias",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "shapes", "expected"),
    [
        (["dense"], [(3, 2), (2,)], ["kernel", "bias"]),
        (["dense"], [(3, 2)], ["kernel"]),
        (["embedding"], [(9, 2)], ["embeddings"]),
        (["embedding"], [(9, 2), (2,)], ["kernel", "bias"]),
        (["conv2d"], [(3, 3, 1, 2)], ["kernel"]),
        (["conv2d"], [(3, 2), (2,)], ["kernel", "bias"]),
        (["lstm_cell"], [(3, 8), (2, 8), (8,)], ["kernel", "recurrent_kernel", "bias"]),
        (["mine"], [(3, 8), (2, 8), (8,)], ["kernel", "recurrent_kernel", "bias"]),
        (["mine"], [(3, 6), (2, 6), (2, 6)], ["kernel", "recurrent_kernel", "bias"]),
        (["mine"], [(3, 8), (3, 8)], ["variable_0", "variable_1"]),
        (["mine"], [(2, 4, 3), (3,)], ["kernel", "bias"]),
        (["mine"], [(2, 2, 3, 5), (3,)], ["kernel", "bias"]),
        (["mine"], [(3,)] * 4, ["gamma", "beta", "moving_mean", "moving_variance"]),
        (["mine"], [(3,)] * 2, ["gamma", "beta"]),
        (["mine"], [(3,), (4,)], ["variable_0", "variable_1"]),
        (["mine"], [(3, 4)], ["variable_0"]),
        (["batch_normalization"], [(3,)] * 3, ["beta", "moving_mean", "moving_variance"]),
        (["batch_normalization"], [(3,)] * 2, ["moving_mean", "moving_variance"]),
        (["separable_conv2d"], [(3, 3, 2, 1), (1, 1, 2, 4)],
         ["depthwise_kernel", "pointwise_kernel"]),
        (["normalization"], [(3,), (3,), ()], ["mean", "variance", "count"]),
        (["p_re_lu"], [(1, 1, 3)], ["alpha"]),
        ([], [()], ["variable_0"]),
    ],
)  # fmt: skip
def test_variables_are_named_by_class_or_else_by_shape(
    classes: list[str], shapes: list[tuple[int, ...]], expected: list[str]
) -> None:
    assert variable_names(classes, shapes, {})[1] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Conv2DTranspose", "conv2d_transpose"),
        ("LSTM", "lstm"),
        ("PReLU", "p_re_lu"),
        ("BatchNormalization", "batch_normalization"),
        ("MyDense", "my_dense"),
    ],
)
def test_classes_are_written_as_keras_writes_them(name: str, expected: str) -> None:
    assert snake_case(name) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"class_name": 3, "config": []}',
        b'{"class_name": "A", "config": {"name": 4, "layers": [1, null, {"class_name": "B"}]}}',
        b'{"config": {"layers": {"a": [[[]]]}}}',
    ],
)
def test_odd_configurations_tell_nothing(text: bytes) -> None:
    configuration = Configuration(text)

    assert configuration.layer(("a",)) is None
    assert configuration.place(("a", "b")) is None


def test_an_einsum_kernel_is_read_by_its_equation(tmp_path: Path) -> None:
    layer = {
        "class_name": "EinsumDense",
        "config": {"name": "mixed", "equation": "abc,cde->abde"},
    }
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/einsum_dense/vars/0"] = np.ones((2, 3, 4), "f4")
        file["layers/einsum_dense/vars"].attrs["name"] = "mixed"
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        document = {"class_name": "Functional", "config": {"name": "net", "layers": [layer]}}
        archive.writestr("config.json", keras_files.json.dumps(document))
        archive.writestr("model.weights.h5", content.getvalue())

    (tensor,) = READER.describe(tmp_path / "a.keras").tensors

    assert tensor.name == "mixed.kernel"
    assert tensor.hints.axes == (Axis.INPUT, Axis.OUTPUT, Axis.OUTPUT)
    assert tensor.hints.kind is Kind.LINEAR


# ---------------------------------------------------------------- lies and damage


def test_a_lying_shape_allocates_nothing(tmp_path: Path) -> None:
    path = write_keras3(tmp_path / "a.weights.h5", {"fc.kernel": np.ones((177, 3), "f4")})
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<Q", 177), struct.pack("<Q", 2**40)))

    assert "shape (1099511627776, 3) needs 13194139533312 bytes" in problem_of(path)


def test_an_empty_file_and_one_of_another_format_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("hello" * 200)

    assert "the file is empty (0 bytes)" in problem_of(tmp_path / "empty.h5")
    assert "not an HDF5 file: it has no signature" in problem_of(tmp_path / "text.h5")
    assert not READER.recognises(tmp_path / "text.h5")


def test_an_index_of_other_files_is_not_ours(tmp_path: Path) -> None:
    for text in (
        '{"weight_map": {"a": "model.safetensors"}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {}}',
        '{"weight_map": []}',
        "[]",
    ):
        (tmp_path / "a.weights.json").write_text(text)

        assert not READER.recognises(tmp_path / "a.weights.json")
        problem_of(tmp_path / "a.weights.json")


def test_a_shard_outside_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.json"
    path.write_text('{"weight_map": {"/layers/dense/vars": ["../b.weights.h5"]}}')

    assert "expected a file name, without folders" in problem_of(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_anywhere_is_refused_or_stays_within_bounds(tmp_path: Path, layout: str) -> None:
    name, write = LAYOUTS[layout]
    content = write(tmp_path / name, WEIGHTS).read_bytes()
    path = tmp_path / f"damaged_{name}"
    refusals = 0

    tracemalloc.start()
    for damaged in mutations(content, FUZZED, seed=zlib.crc32(layout.encode())):
        path.write_bytes(damaged)
        refusals += is_refused(READER, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert FUZZED // 8 < refusals < FUZZED
    assert peak < MOST_BYTES
