"""The GGUF reader, on files that the package of llama.cpp wrote, and on headers that lie."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import accweight_core as aw
from accweight_adapters.gguf.description import WITHOUT_MEANING as NO_MEANING
from accweight_adapters.gguf.header import TYPES
from accweight_adapters.gguf.reader import GgufReader
from accweight_core.errors import FormatError, MissingLibraryError, UnsupportedDtypeError
from accweight_core.naming import layers_of
from accweight_core.runs.opening import survey
from accweight_core.schema import Axis, Extent, HiddenValues, Kind, Role
from accweight_core.testing import ReaderCase, ReaderContract, values_of

READER = GgufReader()
Type = gguf.GGMLQuantizationType
LITTLE, BIG = gguf.GGUFEndian.LITTLE, gguf.GGUFEndian.BIG
PLAIN = {Type.F16: np.float16, Type.F32: np.float32, Type.F64: np.float64}
MADE_HERE = {
    Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.BF16, Type.MXFP4, Type.TQ1_0,
    Type.TQ2_0,
}  # fmt: skip
"""Types that the package can write as well."""

SHAPES = {
    "output.weight": (6, 32),
    "blk.10.attn_q.weight": (4, 32),
    "token_embd.weight": (6, 32),
    "output_norm.weight": (32,),
    "blk.2.ffn_up.weight": (8, 32),
    "blk.2.attn_norm.weight": (32,),
    "blk.2.attn_q.bias": (32,),
    "blk.2.attn_q.weight": (32, 32),
    "blk.2.attn_qkv.weight": (96, 32),
    "blk.2.ffn_down_exps.weight": (2, 4, 32),
    "rope_freqs.weight": (8,),
}


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    return {name: chance.normal(size=s).astype(np.float32) for name, s in SHAPES.items()}


def quantised(array: np.ndarray, kind: Any) -> np.ndarray:
    """Return an array as bytes of a type; of any bytes where nothing here can make that type."""
    if kind in MADE_HERE:
        return gguf.quants.quantize(array, kind)
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    shape = (*array.shape[:-1], array.shape[-1] // block * block_bytes)
    return np.random.default_rng(1).integers(0, 120, size=shape, dtype=np.uint8)


def write(
    path: Path,
    arrays: dict[str, np.ndarray],
    kind: Any = Type.F32,
    endian: Any = LITTLE,
    **options: Any,
) -> Path:
    writer = gguf.GGUFWriter(path, "llama", endianess=endian, **options)
    writer.add_token_list(["a", "bb", "ccc"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_string("training.note", "x" * 70_000)
    for name, array in arrays.items():
        if array.ndim < 2 or kind in PLAIN:
            writer.add_tensor(name, array.astype(PLAIN.get(kind, np.float32)))
        else:
            writer.add_tensor(name, quantised(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def described(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in READER.describe(path).tensors}


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("endian", [LITTLE, BIG], ids=["little", "big"])
@pytest.mark.parametrize("kind", list(PLAIN), ids=lambda kind: kind.name)
def test_plain_floats_are_byte_ranges_of_either_order(
    tmp_path: Path, kind: Any, endian: Any
) -> None:
    arrays = weights()

    tensors = described(write(tmp_path / "a.gguf", arrays, kind, endian))

    assert set(tensors) == set(arrays)
    for name, tensor in tensors.items():
        assert isinstance(tensor.values, Extent)
        np.testing.assert_array_equal(values_of(tensor), arrays[name].astype(PLAIN[kind]))


def test_brain_floats_are_byte_ranges(tmp_path: Path) -> None:
    arrays = weights()

    tensor = described(write(tmp_path / "a.gguf", arrays, Type.BF16))["output.weight"]

    assert isinstance(tensor.values, Extent)
    np.testing.assert_allclose(values_of(tensor), arrays["output.weight"], rtol=0.01)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in Type if gguf.GGML_QUANT_SIZES[kind][0] > 1 and kind.name not in NO_MEANING],
    ids=lambda kind: kind.name,
)
def test_blocks_are_what_the_package_of_llama_cpp_makes_of_them(tmp_path: Path, kind: Any) -> None:
    array = np.random.default_rng(0).normal(size=(3, 2, 512)).astype(np.float32)
    path = write(tmp_path / "a.gguf", {"blk.0.ffn_up_exps.weight": array}, kind)

    tensor = described(path)["blk.0.ffn_up_exps.weight"]

    expected = gguf.quants.dequantize(quantised(array, kind), kind)
    assert isinstance(tensor.values, HiddenValues)
    assert (tensor.shape, tensor.dtype) == ((3, 2, 512), "float32")
    np.testing.assert_array_equal(values_of(tensor), expected)


def test_every_type_of_the_package_is_known_with_its_size() -> None:
    known = {code: (t.name, t.block, t.block_bytes) for code, t in TYPES.items()}
    package = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in Type}

    assert package.items() <= known.items()


@pytest.mark.parametrize(
    ("kind", "endian", "reason"),
    [
        (Type.Q8_K, LITTLE, "dequantising Q8_K is not supported"),
        (Type.Q4_0, BIG, "little-endian files only"),
    ],
)
def test_blocks_without_meaning_are_listed_with_the_reason(
    tmp_path: Path, kind: Any, endian: Any, reason: str
) -> None:
    array = np.ones((2, 256), np.float32)
    path = write(tmp_path / "a.gguf", {"output.weight": array}, kind, endian)

    tensor = described(path)["output.weight"]

    assert reason in tensor.refusal
    with pytest.raises(UnsupportedDtypeError, match=r"output\.weight"):
        values_of(tensor)


def test_without_the_package_blocks_are_described_and_reading_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.gguf", weights(), Type.Q8_0)
    monkeypatch.setitem(sys.modules, "gguf", None)

    tensor = described(path)["output.weight"]

    with pytest.raises(MissingLibraryError, match=r"pip install 'accweight\[gguf\]'"):
        values_of(tensor)


# ---------------------------------------------------------------- order and meaning


def test_tensors_come_in_network_order(tmp_path: Path) -> None:
    names = list(described(write(tmp_path / "a.gguf", weights())))

    assert names == [
        "token_embd.weight",
        "rope_freqs.weight",
        "blk.2.attn_norm.weight",
        "blk.2.attn_qkv.weight",
        "blk.2.attn_q.weight",
        "blk.2.attn_q.bias",
        "blk.2.ffn_up.weight",
        "blk.2.ffn_down_exps.weight",
        "blk.10.attn_q.weight",
        "output_norm.weight",
        "output.weight",
    ]


def test_kinds_roles_axes_and_sections_are_told_from_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", weights())
    layers = {layer.name: layer for layer in layers_of(READER.describe(path).tensors)}
    parameters = {p.name: p for layer in layers.values() for p in layer.parameters}

    assert {name: layer.kind for name, layer in layers.items()} == {
        "token_embd": Kind.EMBEDDING,
        "rope_freqs": Kind.OTHER,
        "blk.2.attn_norm": Kind.NORM,
        "blk.2.attn_qkv": Kind.ATTENTION,
        "blk.2.attn_q": Kind.ATTENTION,
        "blk.2.ffn_up": Kind.LINEAR,
        "blk.2.ffn_down_exps": Kind.LINEAR,
        "blk.10.attn_q": Kind.ATTENTION,
        "output_norm": Kind.NORM,
        "output": Kind.LINEAR,
    }
    assert parameters["output.weight"].axes == (Axis.OUTPUT, Axis.INPUT)
    assert parameters["blk.2.ffn_down_exps.weight"].axes == (
        Axis.OTHER, Axis.OUTPUT, Axis.INPUT,
    )  # fmt: skip
    assert parameters["blk.2.attn_qkv.weight"].sections == ("q", "k", "v")
    assert parameters["rope_freqs.weight"].role is Role.BUFFER
    assert parameters["blk.2.attn_q.bias"].role is Role.BIAS


# ---------------------------------------------------------------- runs and parts


def test_a_run_is_analysed_by_what_its_blocks_stand_for(tmp_path: Path) -> None:
    series = [weights(seed) for seed in range(3)]
    for step, arrays in zip((0, 250, 1000), series, strict=True):
        write(tmp_path / f"checkpoint-{step}.gguf", arrays, Type.Q8_0)

    run = aw.open_run(tmp_path)
    analysis = aw.analyze(run)

    meant = [
        gguf.quants.dequantize(quantised(a["output.weight"], Type.Q8_0), Type.Q8_0) for a in series
    ]
    walked = abs(meant[1] - meant[0]) + abs(meant[2] - meant[1])
    assert (run.reader, list(run.steps)) == ("gguf", [0, 250, 1000])
    np.testing.assert_allclose(analysis.cumulative("output.weight"), walked, rtol=1e-6)


def parts(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write(folder / "net.gguf", weights(), split_max_tensors=4)
    return folder / "net-00001-of-00003.gguf"


def test_parts_are_followed_as_one_checkpoint(tmp_path: Path) -> None:
    for step in (5, 10):
        first = parts(tmp_path / f"checkpoint-{step}")

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [5, 10]
    assert opened.checkpoints[0].format == "GGUF v3, F32, 3 parts"
    for name, tensor in described(first).items():
        np.testing.assert_array_equal(values_of(tensor), weights()[name])


def test_another_part_alone_says_to_name_the_first(tmp_path: Path) -> None:
    first = parts(tmp_path / "c")

    with pytest.raises(FormatError, match="or the first part where there is none"):
        survey(first.with_name("net-00002-of-00003.gguf"))


def test_a_missing_or_mistaken_part_is_refused(tmp_path: Path) -> None:
    first = parts(tmp_path / "c")
    second, third = (first.with_name(f"net-0000{n}-of-00003.gguf") for n in (2, 3))
    second.write_bytes(third.read_bytes())
    assert "its part 'net-00002-of-00003.gguf' has another number than its name says" in problem_of(
        first
    )
    third.unlink()
    second.unlink()
    assert "its part 'net-00002-of-00003.gguf' is missing" in problem_of(first)
    renamed = first.rename(first.with_name("net.gguf"))
    assert "is the first of 3 parts, which are found by their names" in problem_of(renamed)


def test_an_iteration_in_the_notes_is_the_step(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_uint32("training.iteration_count", 77)
    writer.add_float32("training.loss", 0.5)
    writer.add_tensor("output.weight", np.ones((2, 2), np.float32))
    writer.add_tensor("optimizer.adam.m", np.ones((2, 2), np.float32))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()

    description = READER.describe(tmp_path / "a.gguf")

    assert (description.step, description.step_key) == (77, "training.iteration_count")
    assert description.measures == {"loss": 0.5}
    assert [tensor.name for tensor in description.tensors] == ["output.weight"]
    assert description.notes == ("left out 'optimizer': training state, not weights",)


# ---------------------------------------------------------------- lies


def raw(tensors: int, body: bytes, version: int = 3, notes: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, notes) + body


def info(name: bytes, dims: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    head = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
    return head + struct.pack(f"<{len(dims)}QIQ", *dims, kind, offset)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty (0 bytes)"),
        (b"GGML" + bytes(40), "does not begin with GGUF"),
        (b"GGUF\x03\0", "cut short"),
        (raw(0, b"", version=1), "version 1"),
        (raw(0, b"", version=9), "version 9"),
        (raw(2**60, bytes(64)), "claims 1152921504606846976 tensors"),
        (raw(0, bytes(64), notes=2**50), "notes, more than"),
        (raw(0, struct.pack("<Q", 2**62) + bytes(40), notes=1), "claims a name of"),
        (raw(0, struct.pack("<QcIIQ", 1, b"a", 9, 8, 2**40) + bytes(40), notes=1), "claims a list"),
        (raw(0, struct.pack("<QcIIQ", 1, b"a", 9, 4, 2**40) + bytes(40), notes=1), "cut short"),
        (raw(0, struct.pack("<QcI", 1, b"a", 99) + bytes(40), notes=1), "type 99"),
        (raw(1, info(b"w", (4, 4), 0) + bytes(60)), "reaches to byte"),
        (raw(1, info(b"w", (2**40, 2**40), 0) + bytes(64)), "a number of elements"),
        (raw(1, info(b"w", (4,) * 9, 0) + bytes(64)), "claims 9 axes"),
        (raw(1, info(b"w", (33, 4), 2) + bytes(640)), "stores rows in blocks of 32"),
        (raw(1, info(b"w", (4, 4), 0, 2**63) + bytes(64)), "reaches to byte"),
        (raw(1, info(b"a\nb", (4, 4), 0) + bytes(99)), "printable"),
        (raw(1, info(b"\xff\xfe", (4, 4), 0) + bytes(99)), "not text"),
        (raw(2, info(b"w", (1,), 0) * 2 + bytes(99)), "twice"),
        (raw(0, bytes(64)), "holds no tensors"),
    ],
)
def test_a_header_that_lies_is_an_error(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.gguf").write_bytes(content)

    tracemalloc.start()
    text = problem_of(tmp_path / "a.gguf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert expected in text
    assert peak < 1 << 20


def test_a_type_that_is_not_known_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(raw(1, info(b"w", (4, 4), 77) + bytes(99)))

    assert "number 77 of GGUF" in described(tmp_path / "a.gguf")["w"].refusal


class TestGguf(ReaderContract):
    """A model in half precision."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return what a small model holds."""
        arrays = {name: array.astype(np.float16) for name, array in weights().items()}
        return ReaderCase(READER, write(tmp_path / "a.gguf", arrays, Type.F16), arrays)


class TestQuantised(ReaderContract):
    """A model in blocks."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return what the blocks of a matrix stand for."""
        array = weights()["output.weight"]
        meant = gguf.quants.dequantize(quantised(array, Type.Q5_1), Type.Q5_1)
        path = write(tmp_path / "a.gguf", {"output.weight": array}, Type.Q5_1)
        return ReaderCase(READER, path, {"output.weight": meant})
