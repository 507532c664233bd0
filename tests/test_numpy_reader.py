"""The NumPy reader, on files that NumPy wrote, and on headers and zips that lie."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import accweight_core as aw
from accweight_adapters.numpy.header import array_header
from accweight_adapters.numpy.reader import NumpyReader
from accweight_core.errors import FormatError
from accweight_core.naming import layers_of
from accweight_core.runs.training_state import weights_alone
from accweight_core.schema import Axis, Extent, HiddenValues, Kind, Role
from accweight_core.testing import values_of

READER = NumpyReader()
FUZZED = 420
"""Damaged copies per kind of file."""

MOST_BYTES = 16 << 20
"""Memory that no damaged file of a few kilobytes may need."""


def weights() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)
    return {
        "conv1.weight": chance.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "conv1.bias": chance.normal(size=4).astype(np.float32),
        "fc.weight": chance.normal(size=(5, 4)),
        "scale": np.float32(2.5),
        "empty": np.zeros((0, 3), dtype=np.float16),
    }


def saved(path: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> Path:
    save = np.savez_compressed if compressed else np.savez
    with path.open("wb") as file:
        save(file, **arrays)
    return path


def described(path: Path) -> dict[str, np.ndarray]:
    """Return what the reader reads, by name."""
    return {tensor.name: values_of(tensor) for tensor in READER.describe(path).tensors}


def problem_of(path: Path) -> str:
    """Return the message for a file that must be refused, having checked its form."""
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    return str(caught.value)


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return a `.npy` file with that text as its header."""
    text = header.encode("latin1") + b"\n"
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + data


def zipped(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def array_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# ---------------------------------------------------------------- archives


def test_stored_arrays_are_byte_ranges_in_the_order_of_saving(tmp_path: Path) -> None:
    arrays = weights()

    description = READER.describe(saved(tmp_path / "a.npz", arrays))

    assert [tensor.name for tensor in description.tensors] == list(arrays)
    assert all(isinstance(tensor.values, Extent) for tensor in description.tensors)
    assert (description.format, description.step, description.notes) == ("NumPy archive", None, ())
    for tensor in description.tensors:
        np.testing.assert_array_equal(values_of(tensor), arrays[tensor.name])


def test_compressed_arrays_are_inflated_when_they_are_read(tmp_path: Path) -> None:
    arrays = weights() | {"half.weight": np.ones((2, 2), ml_dtypes.bfloat16)}

    description = READER.describe(saved(tmp_path / "a.npz", arrays, compressed=True))

    assert description.format == "NumPy archive, compressed"
    assert all(isinstance(tensor.values, HiddenValues) for tensor in description.tensors)
    for tensor in description.tensors:
        got = values_of(tensor)
        np.testing.assert_array_equal(got, arrays[tensor.name].astype(got.dtype))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
        np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)),
        np.arange(6, dtype=">f4").reshape(3, 2),
        np.arange(3, dtype=np.float16),
        np.array([1 + 2j, 3], dtype=np.complex64),
        np.full((2, 2), 1.5, ml_dtypes.bfloat16),
        np.zeros((3, 0, 2), order="F"),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_every_order_and_type_is_read_as_it_was(
    tmp_path: Path, array: np.ndarray, compressed: bool
) -> None:
    path = saved(tmp_path / "a.npz", {"w": array}, compressed=compressed)

    got = described(path)["w"]

    np.testing.assert_array_equal(got, array.astype(got.dtype))


def test_a_step_and_figures_beside_the_weights_are_no_parameters(tmp_path: Path) -> None:
    beside = {
        "step": np.int64(900),
        "epoch": np.int32(3),
        "loss": np.float32(0.25),
        "val_acc": np.array([0.5, 0.75, np.nan]),
        "lr": 0.125,
        "temperature": np.float32(2.0),
    }

    for compressed in (False, True):
        path = saved(tmp_path / "a.npz", beside | {"w": np.ones((2, 2))}, compressed=compressed)
        description = READER.describe(path)

        assert (description.step, description.step_key) == (900, "step")
        assert description.measures == {"loss": 0.25, "val_acc": 0.75, "lr": 0.125}
        assert [tensor.name for tensor in description.tensors] == ["temperature", "w"]


def test_weights_named_like_figures_stay_weights(tmp_path: Path) -> None:
    arrays = {
        "score.bias": np.ones(3),
        "cost/kernel": np.ones((2, 2)),
        "loss": np.ones((2, 2)),
        "weight": np.ones(4),
    }

    description = READER.describe(saved(tmp_path / "a.npz", arrays))

    assert len(description.tensors) == 4
    assert (description.step, description.measures) == (None, {})


def test_names_with_slashes_become_dotted_and_tell_layers(tmp_path: Path) -> None:
    arrays = {
        "model/conv/kernel:0": np.ones((3, 3, 2, 8)),
        "model/conv/bias:0": np.ones(8),
        "model/dense/kernel:0": np.ones((8, 4)),
        "model/bn/gamma:0": np.ones(4),
        "model/bn/moving_mean:0": np.ones(4),
        "optimizer/m/kernel:0": np.ones((8, 4)),
        "opt_state/mu": np.ones((8, 4)),
    }

    description = weights_alone(READER.describe(saved(tmp_path / "a.npz", arrays)))
    layers = layers_of(description.tensors)

    assert [(layer.name, layer.kind) for layer in layers] == [
        ("model.conv", Kind.CONV),
        ("model.dense", Kind.LINEAR),
        ("model.bn", Kind.NORM),
    ]
    assert description.notes == ("left out 'optimizer', 'opt_state': training state, not weights",)
    conv, bias = layers[0].parameters
    assert conv.axes == (Axis.KERNEL, Axis.KERNEL, Axis.INPUT, Axis.OUTPUT)
    assert layers[1].parameters[0].axes == (Axis.INPUT, Axis.OUTPUT)
    assert [p.role for p in (conv, bias, *layers[2].parameters)] == [
        Role.WEIGHT, Role.BIAS, Role.NORM, Role.BUFFER,
    ]  # fmt: skip


def test_names_keep_their_slashes_where_dots_would_make_two_the_same(tmp_path: Path) -> None:
    arrays = {"a/b": np.ones(2), "a.b": np.zeros(2)}

    assert list(described(saved(tmp_path / "a.npz", arrays))) == ["a/b", "a.b"]


def test_what_is_no_number_is_left_out_with_the_reason(tmp_path: Path) -> None:
    arrays = {
        "w": np.ones(3),
        "config": np.array({"lr": 1}, dtype=object),
        "names": np.array(["a", "b"]),
        "log": np.zeros(2, [("step", "i4"), ("loss", "f4")]),
        "when": np.array(["2026-01-01"], dtype="M8[D]"),
        "long": np.zeros(2, np.longdouble),
    }
    path = saved(tmp_path / "a.npz", arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")

    description = READER.describe(path)

    assert [tensor.name for tensor in description.tensors] == ["w"]
    assert description.notes == (
        "left out 'readme.txt': not arrays",
        "left out 'names': text",
        "left out 'log': records (a structured array)",
        "left out 'when': dates",
        "left out 'long': elements of type '<f16'",
        "left out 'config': Python objects without weights",
    )


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_objects_without_arrays_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    lists = np.empty(2, dtype=object)
    lists[:] = ["x", {"lr": 0.1}]
    (np.save if suffix == ".npy" else np.savez)(path, lists, allow_pickle=True)

    assert "holds no" in problem_of(path)


# ---------------------------------------------------------------- single arrays and runs


def test_a_folder_of_arrays_is_a_run_of_one_parameter(tmp_path: Path) -> None:
    for step in range(3):
        np.save(tmp_path / f"weights_{step:03}.npy", np.full((4, 6), step / 4, np.float32))

    run = aw.open_run(tmp_path)
    analysis = aw.analyze(run)

    assert (run.reader, list(run.steps)) == ("numpy", [0, 1, 2])
    assert [(p.name, p.shape) for p in run.parameters] == [("array", (4, 6))]
    assert analysis.ranking()["mean"].to_list() == [0.5]


def test_a_folder_of_archives_is_a_run_by_the_steps_inside(tmp_path: Path) -> None:
    for number, step in enumerate((10, 20, 40)):
        arrays = {"fc.weight": np.full((2, 3), float(number)), "iteration": np.int64(step)}
        saved(tmp_path / f"{number}.npz", arrays | {"loss": 1.0 / step}, compressed=number == 1)

    run = aw.open_run(tmp_path)

    assert list(run.steps) == [10, 20, 40]
    assert run.checkpoints[0].step_source == "in file: iteration"
    assert [c.measures for c in run.checkpoints] == [{"loss": 0.1}, {"loss": 0.05}, {"loss": 0.025}]
    assert aw.analyze(run).ranking()["mean"].to_list() == [2.0]


def test_archives_give_the_bits_of_the_same_weights_in_memory(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    series = [{"fc.weight": chance.normal(size=(40, 30)).astype(np.float32)} for _ in range(4)]
    for step, arrays in enumerate(series):
        in_order = {name: np.asfortranarray(array) for name, array in arrays.items()}
        saved(tmp_path / f"step_{step}.npz", in_order, compressed=bool(step % 2))

    from_files = aw.analyze(aw.open_run(tmp_path)).table()
    in_memory = aw.analyze(aw.open_run(series)).table()

    assert from_files.equals(in_memory)


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<c16", "|b1", "|i1", "<u8", ">i2"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,)])
def test_headers_are_read_as_numpy_reads_them(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, dtype))

    header = array_header((tmp_path / "a.npy").read_bytes())

    with (tmp_path / "a.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        expected = np.lib.format.read_array_header_1_0(file)
        assert (header.shape, header.is_fortran, header.size_bytes) == (*expected[:2], file.tell())
    assert header.dtype == expected[2].newbyteorder("=").name
    assert header.big_endian == (dtype[0] == ">")


@pytest.mark.parametrize(
    "text",
    [
        '{"descr": "<f4", "fortran_order": False, "shape": (2,)}',
        "{'shape': (2L,), 'fortran_order': False, 'descr': '<f4'}",
        "{'descr':'<f4','fortran_order':False,'shape':(2,)}          ",
    ],
)
def test_headers_of_other_writers_are_read(tmp_path: Path, text: str) -> None:
    for version in (b"\x01\x00", b"\x02\x00"):
        (tmp_path / "a.npy").write_bytes(npy(text, struct.pack("<2f", 1, 2), version))

        assert described(tmp_path / "a.npy")["array"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", bytes(8)), "cut short"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", bytes(8)), "has"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "header is damaged"),
        (npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }"), "header is damaged"),
        (npy("{'descr': '<f4', 'shape': (1,), }"), "header is damaged"),
        (npy("__import__('os').abort()"), "header is damaged"),
        (npy("-" * 9000 + "1"), "header is damaged"),
        (npy("(" * 9000), "header is damaged"),
        (npy("{'descr': 'O', 'fortran_order': False, 'shape': (1,), }"), "pickle is cut short"),
        (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}"), "records"),
        (npy("{'descr': '|V2', 'fortran_order': False, 'shape': (1,), }"), "raw bytes"),
        (npy("{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }"), "type '<f3'"),
        (npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62},)}}"), "a shape of"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999)}"),
         "a number of elements"),
        (npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 65})}}"), "axes" ),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "claims 4294967295 bytes"),
        (b"\x93NUMPY\x09\x00\x02\x00{}", "version 09"),
        (b"\x93NUMPY\x01\x00\x76\x00{  ", "its header needs 128 bytes"),
        (b"\x93NUMPY", "cut short"),
        (b"", "zip directory is missing"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_an_error(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = problem_of(path)

    assert expected in text.replace("a shape that is not a list of at most 64", "axes")


# ---------------------------------------------------------------- zips that lie


def test_a_lying_size_allocates_nothing(tmp_path: Path) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40},)}}"
    zipped(tmp_path / "a.npz", {"w.npy": npy(header, bytes(64))}, zipfile.ZIP_DEFLATED)

    text = problem_of(tmp_path / "a.npz")

    assert "array 'w' of shape (1099511627776,) and type float32 needs 43980465" in text


def test_a_bomb_whose_directory_hides_its_size_stops_at_what_was_promised(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (16,)}"
    path = zipped(tmp_path / "a.npz", {"w.npy": npy(header, bytes(1 << 24))}, zipfile.ZIP_DEFLATED)
    true, told = (struct.pack("<I", len(npy(header, b"")) + size) for size in (1 << 24, 64))
    path.write_bytes(path.read_bytes().replace(true, told))

    with pytest.raises(FormatError, match="inflates to more than it says"):
        values_of(READER.describe(path).tensors[0])


def test_a_size_that_deflate_could_never_reach_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"w.npy": npy("x", bytes(1 << 20))}, zipfile.ZIP_DEFLATED)
    size = len(npy("x", bytes(1 << 20)))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", 2**31)))

    assert "claims 2147483648 bytes, which" in problem_of(path)


def test_damaged_compressed_values_are_refused_when_they_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    path = saved(tmp_path / "a.npz", {"w": values}, compressed=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

    (tensor,) = READER.describe(path).tensors

    with pytest.raises(FormatError, match=r"a\.npz: its member 'w\.npy' is damaged"):
        values_of(tensor)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"a.npy": b"no array"}, "not a .npy array"),
        ({"a.txt": b"text"}, "holds no arrays of numbers; left out 'a.txt': not arrays"),
        ({"x" * 1200 + ".npy": array_bytes(np.ones(2))}, "printable characters"),
        ({"a\nb.npy": array_bytes(np.ones(2))}, "printable characters"),
        ({"step.npy": array_bytes(np.array(3))}, "holds no arrays of numbers"),
    ],
)
def test_a_zip_without_weights_is_refused(
    tmp_path: Path, members: Mapping[str, bytes], expected: str
) -> None:
    assert expected in problem_of(zipped(tmp_path / "a.npz", members))


def test_other_compression_is_refused(tmp_path: Path) -> None:
    members = {"w.npy": array_bytes(np.ones(200))}

    path = zipped(tmp_path / "a.npz", members, zipfile.ZIP_BZIP2)

    assert "compressed by method 12" in problem_of(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", array_bytes(np.ones(2)))
        archive.writestr("w.npy", array_bytes(np.ones(2)))

    assert "lists a member twice" in problem_of(path)


def test_names_that_lead_out_of_the_folder_are_just_names(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"../../evil.npy": array_bytes(np.ones(2))})

    assert list(described(path)) == ["evil"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_other_zips_and_arrays_are_told_apart(tmp_path: Path) -> None:
    torch_like = zipped(tmp_path / "a.pt", {"archive/data.pkl": b"", "archive/data/0": b""})
    keras_like = zipped(tmp_path / "a.keras", {"metadata.json": b"{}", "model.weights.h5": b""})
    late = zipped(tmp_path / "late.bin", {"notes.txt": b"", "w.npy": array_bytes(np.ones(2))})

    assert not READER.recognises(torch_like)
    assert not READER.recognises(keras_like)
    assert READER.recognises(late)
    assert not READER.recognises(tmp_path / "none.npz")
