"""The TensorFlow reader, on what TensorFlow wrote: `generators/tf_checkpoints.py` says how."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from fuzzing import is_refused, mutations

import accweight_core as aw
from accweight_adapters.tensorflow.bundle import slice_key
from accweight_adapters.tensorflow.names import Node, named_by_graph
from accweight_adapters.tensorflow.reader import TensorFlowReader
from accweight_adapters.tensorflow.sstable import CHECKSUM_DELTA, MAGIC, entries_of
from accweight_core.errors import FormatError
from accweight_core.naming import layers_of
from accweight_core.runs.opening import survey
from accweight_core.schema import Axis, Extent, HiddenValues, Kind, Role
from accweight_core.testing import ReaderCase, ReaderContract, values_of

DATA = Path(__file__).parent / "data" / "tensorflow"
READER = TensorFlowReader()
KEY_END = "/.ATTRIBUTES/VARIABLE_VALUE"
PREFIXES = (
    "graph/model.ckpt-10", "graph/model.ckpt-20", "keras2/ckpt-1", "keras2/ckpt-2",
    "keras3/ckpt-1", "keras3/ckpt-2", "module/ckpt-1", "module/ckpt-2",
    "weights/epoch-01", "weights/epoch-02",
)  # fmt: skip


def expected(prefix: str) -> dict[str, np.ndarray]:
    """Return the values as TensorFlow reads them, by the ends of their keys."""
    with np.load(DATA / "expected" / f"{prefix}.npz") as archive:
        return {key.removesuffix(KEY_END): array for key, array in archive.items()}


def copied(tmp_path: Path, prefix: str) -> Path:
    """Return the index of a copy that may be damaged."""
    for file in (DATA / prefix).parent.glob(f"{Path(prefix).name}.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / f"{Path(prefix).name}.index"


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def kinds_in(prefix: str) -> dict[str, Kind]:
    layers = layers_of(READER.describe(DATA / f"{prefix}.index").tensors)
    return {layer.name: layer.kind for layer in layers}


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("prefix", PREFIXES)
def test_variables_have_the_values_that_tensorflow_reads(prefix: str) -> None:
    arrays = expected(prefix)
    left = {key: array for key, array in arrays.items() if array.dtype.kind == "f" and array.shape}

    tensors = READER.describe(DATA / f"{prefix}.index").tensors

    for tensor in tensors:
        if tensor.dtype == "bool":
            continue
        values = values_of(tensor)
        twin = next(
            k for k, array in left.items()
            if array.shape == tensor.shape and np.array_equal(array.astype(values.dtype), values)
        )  # fmt: skip
        del left[twin]
    assert [key for key in left if "_trainable_variables" not in key] == []


def test_variables_of_keras_are_called_as_in_the_program() -> None:
    named = {
        "model/layer_with_weights-0/kernel": "first_conv.kernel",
        "model/layer_with_weights-1/moving_mean": "batch_normalization.moving_mean",
        "model/layer_with_weights-4/cell/recurrent_kernel": "lstm.lstm_cell.recurrent_kernel",
        "model/layer_with_weights-5/bias": "head.bias",
    }
    arrays = expected("keras2/ckpt-2")

    tensors = {t.name: t for t in READER.describe(DATA / "keras2/ckpt-2.index").tensors}

    for key, name in named.items():
        np.testing.assert_array_equal(values_of(tensors[name]), arrays[key])


def test_variables_of_keras_3_are_found_though_their_keys_lead_through_the_optimizer() -> None:
    arrays = expected("keras3/ckpt-2")

    description = READER.describe(DATA / "keras3/ckpt-2.index")

    tensors = {tensor.name: tensor for tensor in description.tensors}
    assert list(tensors)[:3] == [
        "first_conv.kernel",
        "first_conv.bias",
        "batch_normalization.gamma",
    ]
    np.testing.assert_array_equal(
        values_of(tensors["head.kernel"]), arrays["optimizer/_trainable_variables/11"]
    )
    assert description.notes == ("left out 'optimizer': training state, not weights",)


def test_variables_without_names_go_by_the_shortest_path_around_optimizers() -> None:
    nodes = [
        Node((("optimizer", 1), ("net", 2))),
        Node((("kernel", 3), ("m", 5))),
        Node((("layer", 4),)),
        Node(variables=(("Variable", "optimizer/kernel/.ATTRIBUTES/V"),)),
        Node((("kernel", 3), ("again", 2))),
        Node(variables=(("Variable", "optimizer/m/.ATTRIBUTES/V"),)),
    ]
    keys = {"optimizer/kernel/.ATTRIBUTES/V": True, "optimizer/m/.ATTRIBUTES/V": True}

    named = named_by_graph(nodes, keys)

    assert named.model == {"optimizer/kernel/.ATTRIBUTES/V": "layer.kernel"}
    assert named.notes == ["left out 'optimizer': training state, not weights"]


def test_a_table_in_slices_over_two_files_is_put_together() -> None:
    tensors = {t.name: t for t in READER.describe(DATA / "graph/model.ckpt-10.index").tensors}

    table, dense = tensors["embedding.table"], tensors["dense.kernel"]

    assert isinstance(table.values, HiddenValues)
    assert isinstance(dense.values, Extent)
    assert dense.values.path.endswith("model.ckpt-10.data-00001-of-00002")
    np.testing.assert_array_equal(
        values_of(table), expected("graph/model.ckpt-10")["embedding/table"]
    )


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        (((0, -1),), b"\0ab\0\1\1\1\x80\x7f"),
        (((22, 21), (0, -1)), b"\0ab\0\1\1\2\x96\x95\x80\x7f"),
        (((64, 63),), b"\0ab\0\1\1\1\xc0\x40\xbf"),
        (((8191, 8192),), b"\0ab\0\1\1\1\xdf\xff\xe0\x20\x00"),
        ((), b"\0ab\0\1\0"),
    ],
)
def test_keys_of_slices_are_coded_as_tensorflow_codes_them(
    bounds: tuple[tuple[int, int], ...], code: bytes
) -> None:
    assert slice_key("ab", bounds) == code


# ---------------------------------------------------------------- meaning and order


def test_kinds_axes_and_roles_are_told() -> None:
    layers = layers_of(READER.describe(DATA / "keras2/ckpt-1.index").tensors)
    parameters = {p.name: p for layer in layers for p in layer.parameters}
    window = (Axis.KERNEL, Axis.KERNEL)

    assert kinds_in("keras2/ckpt-1") == {
        "first_conv": Kind.CONV,
        "batch_normalization": Kind.NORM,
        "depthwise_conv2d": Kind.CONV,
        "conv2d_transpose": Kind.CONV_TRANSPOSE,
        "lstm": Kind.LSTM,
        "head": Kind.LINEAR,
    }
    assert parameters["first_conv.kernel"].axes == (*window, Axis.INPUT, Axis.OUTPUT)
    assert parameters["conv2d_transpose.kernel"].axes == (*window, Axis.OUTPUT, Axis.INPUT)
    assert parameters["head.kernel"].axes == (Axis.INPUT, Axis.OUTPUT)
    assert parameters["lstm.lstm_cell.kernel"].sections == ("i", "f", "c", "o")
    assert parameters["batch_normalization.moving_mean"].role is Role.BUFFER
    assert kinds_in("keras3/ckpt-1") == kinds_in("keras2/ckpt-1")


def test_names_of_tensorflow_1_tell_as_much() -> None:
    layers = layers_of(READER.describe(DATA / "graph/model.ckpt-10.index").tensors)
    parameters = {p.name: p for layer in layers for p in layer.parameters}

    assert kinds_in("graph/model.ckpt-10") == {
        "conv1": Kind.CONV,
        "dense": Kind.LINEAR,
        "embedding": Kind.EMBEDDING,
    }
    assert list(parameters)[:2] == ["conv1.weights", "conv1.biases"]
    assert parameters["conv1.weights"].axes[-2:] == (Axis.INPUT, Axis.OUTPUT)
    assert parameters["conv1.biases"].role is Role.BIAS


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize(
    ("folder", "steps", "source"),
    [
        ("graph", [10, 20], "in file: global_step"),
        ("keras2", [5, 10], "in file: step"),
        ("keras3", [5, 10], "in file: step"),
        ("module", [1, 2], "in file: save_counter"),
        ("weights", [1, 2], "in name: epoch"),
    ],
)
def test_a_folder_is_a_run_by_the_steps_inside(folder: str, steps: list[int], source: str) -> None:
    opened = survey(DATA / folder)

    assert opened.reader == "tensorflow"
    assert [(c.step, c.step_source) for c in opened.checkpoints] == [(s, source) for s in steps]


def test_an_analysis_gives_what_the_arrays_give() -> None:
    key = "model/layer_with_weights-0/kernel"
    first, last = (expected(f"keras2/ckpt-{n}")[key] for n in (1, 2))

    analysis = aw.analyze(aw.open_run(DATA / "keras2"))

    np.testing.assert_allclose(analysis.cumulative("first_conv.kernel"), abs(last - first))


def test_a_checkpoint_may_be_named_by_its_prefix(tmp_path: Path) -> None:
    index = copied(tmp_path, "keras2/ckpt-2")

    assert survey(tmp_path / "ckpt-2").checkpoints[0].path == str(index)


def test_the_learning_rate_is_a_measure() -> None:
    measures = survey(DATA / "keras2").checkpoints[0].measures

    assert measures == {"learning_rate": pytest.approx(0.01)}


def test_an_index_that_is_cut_short_is_not_passed_over(tmp_path: Path) -> None:
    index = copied(tmp_path, "keras2/ckpt-1")
    copied(tmp_path, "keras2/ckpt-2")
    index.write_bytes(index.read_bytes()[:-20])

    with pytest.raises(FormatError, match=r"ckpt-1\.index: does not end as an index"):
        survey(tmp_path)


def test_other_indexes_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    copied(tmp_path, "keras2/ckpt-1")
    copied(tmp_path, "keras2/ckpt-2")
    (tmp_path / "faiss.index").write_bytes(b"IxFI" + bytes(100))

    assert len(survey(tmp_path).checkpoints) == 2


# ---------------------------------------------------------------- what is not the model


def plain(tmp_path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """Write variables of zeros by name, as TensorFlow 1 does."""
    place, entries = 0, dict(HEADER)
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape, dtype=int))
        entries[name.encode()] = entry(shape=shape, offset=place, size=size)
        place += size
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(place))
    path = tmp_path / "m.index"
    path.write_bytes(table(entries))
    return path


def test_slots_and_averages_of_partitioned_variables_are_no_weights(tmp_path: Path) -> None:
    ends = ("", "/part_0/Ftrl", "/part_0/Ftrl_1", "/part_0/ExponentialMovingAverage")
    path = plain(tmp_path, {f"fc/weights{end}": (4, 3) for end in ends} | {"part_0/w": (2, 2)})

    description = TensorFlowReader().describe(path)

    assert [t.name for t in description.tensors] == ["fc.weights", "part_0.w"]
    assert description.notes == (
        "left out 'fc/weights/part_0/Ftrl' and 1 more: training state, not weights",
        "left out 'fc/weights/part_0/ExponentialMovingAverage': averaged copies",
    )


def test_a_single_number_at_the_root_is_not_lost_without_a_word(tmp_path: Path) -> None:
    path = plain(tmp_path, {"fc/kernel": (2, 2), "temperature": (), "loss": ()})

    description = TensorFlowReader().describe(path)

    assert [t.name for t in description.tensors] == ["fc.kernel"]
    assert description.measures == {"loss": 0.0}
    assert description.notes == (
        "left out 'temperature': single numbers beside the model, not in it",
    )


# ---------------------------------------------------------------- lies


def table(entries: Mapping[bytes, bytes], packing: int = 0) -> bytes:
    """Return a table of one block."""

    def block(pairs: Mapping[bytes, bytes], packed: int) -> bytes:
        body = b"".join(b"\0" + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs.items())
        body += struct.pack("<II", 0, 1)
        stored = (varint(len(body)) + literals(body) if packed else body) + bytes([packed])
        crc = google_crc32c.value(stored)
        masked = ((crc >> 15 | crc << 17) + CHECKSUM_DELTA) & 0xFFFFFFFF
        return stored + struct.pack("<I", masked)

    data = block(dict(sorted(entries.items())), packing)
    index = block({b"\xff": varint(0) + varint(len(data) - 5)}, 0)
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + MAGIC


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def literals(body: bytes) -> bytes:
    """Return bytes as snappy stores what it finds no use for."""
    pieces = (body[i : i + 60] for i in range(0, len(body), 60))
    return b"".join(bytes([len(piece) - 1 << 2]) + piece for piece in pieces)


def entry(kind: int = 1, shape: tuple[int, ...] = (2, 2), **numbers: int) -> bytes:
    sizes = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(n) for n in shape))
    out = b"\x08" + varint(kind) + b"\x12" + varint(len(sizes)) + sizes
    tags = {"shard": 0x18, "offset": 0x20, "size": 0x28}
    return out + b"".join(bytes([tags[k]]) + varint(v) for k, v in numbers.items())


HEADER = {b"": b"\x08\x01\x1a\x02\x08\x01"}


def written(tmp_path: Path, entries: Mapping[bytes, bytes], packing: int = 0) -> Path:
    (tmp_path / "m.data-00000-of-00001").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    path = tmp_path / "m.index"
    path.write_bytes(table(entries, packing))
    return path


@pytest.mark.parametrize("packing", [0, 1], ids=["plain", "snappy"])
def test_a_table_by_hand_is_read(tmp_path: Path, packing: int) -> None:
    path = written(tmp_path, HEADER | {b"a/kernel": entry(size=16)}, packing)

    (tensor,) = READER.describe(path).tensors

    np.testing.assert_array_equal(values_of(tensor), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({b"w": entry(size=16)}, "without the header"),
        ({b"": b"\x08\x00"}, "claims 0 shards"),
        ({b"": b"\x08\x01\x10\x05"}, "order of bytes 5"),
        (HEADER, "holds no variables of a model"),
        (HEADER | {b"w": entry(size=12)}, "needs 16 bytes, it has 12"),
        (HEADER | {b"w": entry(size=16, offset=8)}, "reaches to byte 24"),
        (HEADER | {b"w": entry(size=16, offset=2**63)}, "has an invalid location"),
        (HEADER | {b"w": entry(size=16, shard=3)}, "shard 3 of 1"),
        (HEADER | {b"w": entry(shape=(2**40, 2**40), size=16)}, "a number of elements"),
        (HEADER | {b"w": entry(shape=(2**64 - 1,), size=16)}, "a shape of -1"),
        (HEADER | {b"\xff\xfe": entry(size=16)}, "not text"),
        (HEADER | {b"a\nb/c": entry(size=16)}, "printable"),
        (HEADER | {b"w": b"\x08"}, "is not terminated"),
        (HEADER | {b"w": b"\x12\x7f"}, "cut short"),
        (HEADER | {b"w": entry() + b"\x3a\x04\x0a\x02\x10\x01"}, "another rank"),
        (HEADER | {b"w": entry() + b"\x3a\x06\x0a\x02\x10\x01\x0a\x00"}, "do not add up"),
        (HEADER | {b"w": entry() + b"\x3a\x04\x0a\x00\x0a\x00"}, "not where it should be"),
    ],
)
def test_an_index_that_cannot_be_true_is_an_error(
    tmp_path: Path, entries: Mapping[bytes, bytes], expected: str
) -> None:
    assert expected in problem_of(written(tmp_path, entries))


def test_a_type_that_is_not_known_is_listed_with_the_reason(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER | {b"a/w": entry(kind=29, size=2)})

    (tensor,) = READER.describe(path).tensors

    assert "number 29 of TensorFlow" in tensor.refusal


def test_a_missing_shard_and_a_link_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    path = written(tmp_path / "c", HEADER | {b"a/w": entry(size=16)})
    shard = path.with_name("m.data-00000-of-00001")
    shard.rename(tmp_path / "outside")
    assert "'m.data-00000-of-00001' is missing" in problem_of(path)
    shard.symlink_to(tmp_path / "outside")
    assert "leads out" in problem_of(path)


# ---------------------------------------------------------------- damage anywhere


def test_another_letter_in_a_name_breaks_the_checksum_of_its_block(tmp_path: Path) -> None:
    index = copied(tmp_path, "keras2/ckpt-1")
    content = index.read_bytes()
    assert b"kernel" in content

    index.write_bytes(content.replace(b"kernel", b"kernal", 1))

    assert "checksum" in problem_of(index)


def _with_damaged_entries(index: Path) -> Callable[[int], bytes]:
    with index.open("rb") as file:
        entries = entries_of(file)
    copies = {
        key: list(mutations(value, 40, seed=n)) for n, (key, value) in enumerate(entries.items())
    }

    def damaged(number: int) -> bytes:
        keys = list(entries)
        key = keys[number % len(keys)]
        return table(entries | {key: copies[key][number // len(keys) % 40]})

    return damaged


@pytest.mark.parametrize("prefix", ["keras3/ckpt-1", "graph/model.ckpt-10"])
def test_damage_behind_sound_checksums_is_refused_or_stays_within_bounds(
    tmp_path: Path, prefix: str
) -> None:
    index = copied(tmp_path, prefix)
    make, refusals = _with_damaged_entries(index), 0

    for number in range(200):
        index.write_bytes(make(number))
        refusals += is_refused(READER, index)

    assert 10 < refusals < 200


def test_a_damaged_graph_of_objects_is_refused_or_stays_within_bounds(tmp_path: Path) -> None:
    index = copied(tmp_path, "keras3/ckpt-1")
    shard = tmp_path / "ckpt-1.data-00000-of-00001"
    content = shard.read_bytes()
    start = content.index(b"\nmodel") if b"\nmodel" in content else 0
    refusals = 0

    for damaged in mutations(content[start:], 140, seed=3):
        shard.write_bytes(content[:start] + damaged)
        refusals += is_refused(READER, index)

    assert 10 < refusals < 140


class TestObjects(ReaderContract):
    """A network of Keras and its optimizer."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return the head of the network."""
        arrays = expected("keras2/ckpt-2")
        head = {n: arrays[f"model/layer_with_weights-5/{n}"] for n in ("kernel", "bias")}
        path = copied(tmp_path, "keras2/ckpt-2")
        return ReaderCase(READER, path, {f"head.{name}": array for name, array in head.items()})


class TestNames(ReaderContract):
    """A graph of TensorFlow 1."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return all of it."""
        arrays = {k.replace("/", "."): v for k, v in expected("graph/model.ckpt-20").items()}
        known = {k: v for k, v in arrays.items() if v.shape}
        return ReaderCase(READER, copied(tmp_path, "graph/model.ckpt-20"), known)
