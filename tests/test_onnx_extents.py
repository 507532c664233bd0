"""ONNX tensors: every value found where it lies, every lie about it refused."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import described, floats, node, read, saved, stored_as

from accweight_adapters.onnx.reader import OnnxReader
from accweight_core.errors import FormatError
from accweight_core.schema import Extent, HiddenValues


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "data_type",
    [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
     TensorProto.FLOAT8E4M3FN, TensorProto.COMPLEX64],
)  # fmt: skip
@pytest.mark.parametrize("size", [3, 40])
def test_values_read_through_the_description_are_those_onnx_reads(
    tmp_path: Path, data_type: int, raw: bool, size: int
) -> None:
    weight = stored_as("fc.weight", floats(size, size), data_type, raw=raw)
    path = saved(tmp_path, [node("MatMul", "x fc.weight")], {"fc.weight": weight})
    expected = numpy_helper.to_array(weight)

    tensor = described(path)["fc.weight"]

    plain = raw or data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.COMPLEX64)
    assert isinstance(tensor.values, Extent if plain else HiddenValues)
    got = read(tensor)
    if isinstance(tensor.values, Extent):
        assert got.tobytes() == expected.tobytes()
    else:
        assert np.array_equal(got, expected.astype(got.dtype))


def test_external_data_is_found_beside_the_model(tmp_path: Path) -> None:
    weight, bias = floats(30, 20), floats(30)
    path = saved(
        tmp_path,
        [node("Gemm", "x fc.weight fc.bias", transB=1)],
        {"fc.weight": weight, "fc.bias": bias},
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )

    description = OnnxReader().describe(path)

    assert description.format == "ONNX with external data"
    assert description.files == (str(path), str(tmp_path / "weights.bin"))
    stored_weight, stored_bias = description.tensors
    assert np.array_equal(read(stored_weight), weight)
    assert np.array_equal(read(stored_bias), bias)


def test_describing_a_large_model_does_not_load_it(tmp_path: Path) -> None:
    path = saved(
        tmp_path, [node("MatMul", "x w.weight")], {"w.weight": np.zeros((4096, 2048), "f4")}
    )
    OnnxReader().describe(path)  # imports and caches

    tracemalloc.start()
    description = OnnxReader().describe(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert description.tensors[0].values.elements == 4096 * 2048
    assert peak < 1 << 20


def external(tmp_path: Path, **entries: str) -> Path:
    """Write a model whose only weight, 6 floats, claims to lie where `entries` say."""
    tensor = TensorProto(name="fc.weight", dims=[2, 3], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    graph = helper.make_graph([node("MatMul", "x fc.weight")], "g", [], [], [tensor])
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "", "\\x"]
)
def test_external_data_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(24))

    with pytest.raises(FormatError, match=r"tensor 'fc.weight' points outside the model's folder"):
        OnnxReader().describe(external(tmp_path, location=location))


@pytest.mark.parametrize("link", ["symlink", "hard link", "folder link"])
def test_external_data_behind_a_link_is_refused(tmp_path: Path, link: str) -> None:
    location = "sub/w.bin" if link == "folder link" else "w.bin"
    path = external(tmp_path, location=location)
    (tmp_path / "w.bin").write_bytes(bytes(24))
    if link == "symlink":
        (path.parent / "w.bin").symlink_to(tmp_path / "w.bin")
    elif link == "hard link":
        os.link(tmp_path / "w.bin", path.parent / "w.bin")
    else:
        (path.parent / "sub").symlink_to(tmp_path)

    with pytest.raises(FormatError, match=r"'fc.weight'.*is a link, or not a plain file"):
        OnnxReader().describe(path)


def test_missing_external_data_says_which_tensor_and_which_file(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError, match=r"'fc.weight'.*'w.bin', which is not there; copy that file"
    ):
        OnnxReader().describe(external(tmp_path, location="w.bin"))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "4"}, "reaches to byte 28 of external data 'w.bin', which has 24"),
        ({"length": "20"}, "claims 20 bytes of external data"),
        ({"offset": "-8"}, "no valid offset or length"),
        ({"offset": "9" * 19}, "reaches to byte"),
    ],
)
def test_external_data_that_does_not_fit_is_refused(
    tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    path = external(tmp_path, location="w.bin", **entries)
    (path.parent / "w.bin").write_bytes(bytes(24))

    with pytest.raises(FormatError, match=message):
        OnnxReader().describe(path)


@pytest.mark.parametrize("dims", [[3, 3], [2, 2], [-2, -3], [1 << 40, 1 << 40], [1] * 100])
def test_a_shape_that_lies_about_its_bytes_is_refused(tmp_path: Path, dims: list[int]) -> None:
    tensor = TensorProto(
        name="fc.weight", dims=dims, data_type=TensorProto.FLOAT, raw_data=bytes(24)
    )
    path = saved(tmp_path, [node("MatMul", "x fc.weight")], {"fc.weight": tensor})

    with pytest.raises(
        FormatError, match=r"tensor 'fc.weight' (holds 24 bytes|has the impossible)"
    ):
        OnnxReader().describe(path)
