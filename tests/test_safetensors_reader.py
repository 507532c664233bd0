"""The safetensors reader, on files that the library wrote, and on headers that lie."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from accweight_adapters.safetensors_reader import DTYPE_NAMES, SafetensorsReader
from accweight_core.dtypes import DTYPES
from accweight_core.errors import FormatError, UnsupportedDtypeError
from accweight_core.schema import Description, Extent, HiddenValues, StoredTensor

SHARED = Path(__file__).parents[2] / "shared" / "data"
READER = SafetensorsReader()


def names(description: Description) -> list[str]:
    return [tensor.name for tensor in description.tensors]


def values_of(stored: StoredTensor) -> torch.Tensor:
    """Read an extent the way core does, as plainly as possible."""
    extent = stored.values
    assert isinstance(extent, Extent)
    assert extent.strides is None
    size_bytes = extent.elements * DTYPES[extent.dtype].size_bytes
    raw = Path(extent.path).read_bytes()[extent.offset : extent.offset + size_bytes]
    assert len(raw) == size_bytes
    if not raw:
        return torch.empty(extent.shape, dtype=getattr(torch, extent.dtype))
    return torch.frombuffer(bytearray(raw), dtype=getattr(torch, extent.dtype)).view(extent.shape)


def written(path: Path, header: object, data: bytes = bytes(16)) -> Path:
    """Write a file by hand; text and bytes go in as the header, anything else as its JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def problem_of(path: Path) -> str:
    """Return the message for a file that must be refused, having checked its form."""
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    return str(caught.value)


def sharded(folder: Path, weight_map: Mapping[str, Any], **others: Any) -> Path:
    """Write an index, and each shard it names with the tensors it should hold."""
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map, **others}))
    for shard in {file for file in weight_map.values() if isinstance(file, str) and file}:
        tensors = {
            name: torch.full((2,), float(index))
            for index, (name, file) in enumerate(weight_map.items())
            if file == shard
        }
        if Path(shard).name == shard:
            save_file(tensors, folder / shard)
    return path


# ---------------------------------------------------------------- one file


def test_tensors_are_described_where_their_values_lie(tmp_path: Path) -> None:
    state = {"conv.weight": torch.randn(2, 3, 3), "scalar": torch.tensor(2.5)}
    state["empty"] = torch.empty(0, 7)
    save_file(state, tmp_path / "a.safetensors")

    description = READER.describe(tmp_path / "a.safetensors")

    assert sorted(names(description)) == sorted(state)
    assert all(torch.equal(values_of(stored), state[stored.name]) for stored in description.tensors)
    assert description.files == (str(tmp_path / "a.safetensors"),)
    assert description.format == "safetensors"
    assert (description.step, description.step_key, description.notes) == (None, "", ())


@pytest.mark.parametrize("dtype", DTYPE_NAMES.values())
def test_every_element_type_is_found_at_its_bytes(tmp_path: Path, dtype: str) -> None:
    tensor = torch.tensor([[0.0, 1.0], [2.0, 4.0]]).to(getattr(torch, dtype))
    save_file({"w": tensor}, tmp_path / "a.safetensors")

    (stored,) = READER.describe(tmp_path / "a.safetensors").tensors

    assert stored.dtype == dtype
    assert torch.equal(values_of(stored).view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("code", ["F4", "F6_E2M3", "F8_E8M0", "F128", "x" * 1000])
def test_an_element_type_without_plain_values_is_listed_with_the_reason(
    tmp_path: Path, code: str
) -> None:
    path = written(tmp_path / "a.safetensors", {"w": entry(code), "v": entry(offsets=(16, 32))})
    path.write_bytes(path.read_bytes() + bytes(16))

    plain, odd = READER.describe(path).tensors

    assert (plain.refusal, odd.name, odd.shape) == ("", "w", (4,))
    assert code[:30] in odd.refusal
    assert isinstance(odd.values, HiddenValues)
    with pytest.raises(UnsupportedDtypeError, match="'w' cannot be analysed"):
        odd.values.load()


def test_the_parameters_of_a_recurrent_layer_come_in_the_order_of_their_use(
    tmp_path: Path,
) -> None:
    expected = [
        f"lstm.{what}_{matrix}_l{layer}"
        for layer in (0, 1)
        for what in ("weight", "bias")
        for matrix in ("ih", "hh")
    ]
    path = tmp_path / "m.safetensors"
    save_file({name: torch.zeros(4) for name in sorted(expected)}, path)

    assert names(READER.describe(path)) == expected


def test_tensors_come_in_natural_order_with_weight_before_bias(tmp_path: Path) -> None:
    expected = [
        "embed.weight",
        "layer2.weight",
        "layer2.bias",
        "layer2.conv1.weight",
        "layer2.conv1.bias",
        "layer2.conv10.weight",
        "layer10.weight",
        "layer10.bias",
        "layer10.running_mean",
    ]
    shuffled = sorted(expected)
    save_file({name: torch.ones(1) for name in shuffled}, tmp_path / "a.safetensors")

    assert names(READER.describe(tmp_path / "a.safetensors")) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"format": "pt"}, (None, "")),
        ({"epoch": "7"}, (7, "metadata.epoch")),
        ({"epoch": "7", "global_step": " 900 "}, (900, "metadata.global_step")),
        ({"step": "7.0"}, (7, "metadata.step")),
        ({"step": "7.5", "epoch": "-1"}, (-1, "metadata.epoch")),
        ({"step": "9" * 5000}, (None, "")),
    ],
)
def test_the_step_is_read_from_the_metadata(
    tmp_path: Path, metadata: dict[str, str], expected: tuple[int | None, str]
) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "a.safetensors", metadata)

    description = READER.describe(tmp_path / "a.safetensors")

    assert (description.step, description.step_key) == expected


def test_null_metadata_as_mlx_writes_them_are_no_metadata(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", {"__metadata__": None, "w": entry()})

    description = READER.describe(path)

    assert names(description) == ["w"]
    assert (description.step, description.notes) == (None, ())


def test_metadata_that_are_not_text_cost_no_weights_and_are_noted(tmp_path: Path) -> None:
    metadata = {"step": 7, "config": {"lr": 1}, "tags": ["a"], "format": "pt", "gone": None}
    odd = written(tmp_path / "a.safetensors", {"w": entry(), "__metadata__": metadata})
    none = written(tmp_path / "b.safetensors", {"w": entry(), "__metadata__": ["pt"]})

    described, listed = READER.describe(odd), READER.describe(none)

    assert (names(described), described.step) == (["w"], 7)
    assert described.notes == ("in its __metadata__, 'config', 'tags' is ignored: not text",)
    assert names(listed) == ["w"]
    assert listed.notes == ("its __metadata__ is ignored: <list> is not an object",)


# ---------------------------------------------------------------- an index of shards


def test_an_index_with_null_metadata_is_followed(tmp_path: Path) -> None:
    path = sharded(tmp_path, {"a.weight": "one.safetensors"}, metadata=None)

    assert names(READER.describe(path)) == ["a.weight"]


def test_an_index_is_followed_and_stray_files_are_not(tmp_path: Path) -> None:
    weight_map = {"b.weight": "two.safetensors", "a.weight": "one.safetensors"}
    path = sharded(tmp_path, weight_map, metadata={"total_size": 16, "epoch": 5})
    save_file({"c.weight": torch.ones(1)}, tmp_path / "three.safetensors")

    description = READER.describe(path)

    assert READER.recognises(path)
    assert names(description) == ["a.weight", "b.weight"]
    assert [values_of(stored).tolist() for stored in description.tensors] == [[1, 1], [0, 0]]
    assert description.format == "safetensors index, 2 shards"
    assert description.files == tuple(
        str(tmp_path / name) for name in (path.name, "one.safetensors", "two.safetensors")
    )
    assert (description.step, description.step_key) == (5, "metadata.epoch")


def test_the_index_decides_which_shard_holds_a_tensor(tmp_path: Path) -> None:
    path = sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    save_file({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "two.safetensors", {"step": "3"})

    description = READER.describe(path)

    assert [Path(stored.values.path).name for stored in description.tensors] == [  # type: ignore[union-attr]
        "one.safetensors",
        "two.safetensors",
    ]
    assert description.notes == ("left out 1 tensors of the shards that the index does not list",)
    assert description.step == 3


def test_a_missing_shard_is_named_with_its_index(tmp_path: Path) -> None:
    path = sharded(tmp_path, {"a": "one.safetensors"})
    (tmp_path / "one.safetensors").unlink()

    assert problem_of(path) == (
        f"{path}: its shard 'one.safetensors' is missing; copy it beside the index"
    )


def test_a_tensor_missing_in_its_shard_is_named(tmp_path: Path) -> None:
    path = sharded(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")

    assert "tensor 'b' is in 'one.safetensors'; it is not" in problem_of(path)


def test_a_damaged_shard_is_named_itself(tmp_path: Path) -> None:
    path = sharded(tmp_path, {"a": "one.safetensors"})
    shard = tmp_path / "one.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])

    assert problem_of(path).startswith(f"{shard}: its tensors need 8 bytes, it has 7")


@pytest.mark.parametrize(
    "shard",
    [
        "../one.safetensors",
        "/etc/one.safetensors",
        "sub/one.safetensors",
        "..\\one.safetensors",
        "./one.safetensors",
        "one\n.safetensors",
        "\0.safetensors",
    ],
)
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, shard: str) -> None:
    inner = tmp_path / "sub"
    inner.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    path = inner / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": shard}}))

    assert "expected a file name, without folders" in problem_of(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "sub"
    inner.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "secret.safetensors")
    (inner / "one.safetensors").symlink_to(tmp_path / "secret.safetensors")
    path = inner / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))

    assert "leads out of the index's folder" in problem_of(path)


def test_the_links_of_a_hugging_face_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    index = sharded(blobs, {"a": "one.safetensors"})
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(blob)

    assert names(READER.describe(snapshot / index.name)) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "",
        '{"weight_map": []}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "x.bin"}}',
        '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}',
        '{"weight_map": {"a": "x.safetensors"}, "metadata": NaN}',
        '{"weight_map": ' + "[" * 100_000,
        '{"weight_map": ' + "9" * 5000 + "}",
    ],
)
def test_other_json_is_no_index(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    assert not READER.recognises(path)
    problem_of(path)


# ---------------------------------------------------------------- lies and damage


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"w": entry(shape=(3,))}, "needs 12 bytes, its data_offsets give it 16"),
        ({"w": entry(shape=(5,))}, "needs 20 bytes"),
        ({"w": entry(shape=(2**62,))}, "a shape of 4611686018427387904"),
        ({"w": entry(shape=(2**40, 2**40))}, "a number of elements"),
        ({"w": entry(shape=(-4,))}, "a shape of -4"),
        ({"w": entry(shape=(4.0,))}, "a shape of 4.0"),
        ({"w": entry(shape=(True,))}, "a shape of True"),
        ({"w": entry(shape=4)}, "a shape that is not a list"),
        ({"w": entry(shape=[1] * 65)}, "a shape that is not a list"),
        ({"w": entry(offsets=(4, 20))}, "leaves a hole before it"),
        ({"w": entry(offsets=(16, 0))}, "not a range of bytes"),
        ({"w": entry(offsets=(0,))}, "not a range of bytes"),
        ({"w": entry(offsets=(-16, 0))}, "data_offsets of -16"),
        ({"w": entry(offsets="ab")}, "data_offsets that is not a list"),
        ({"w": entry(shape=(8,), offsets=(0, 32))}, "it is cut short"),
        ({"w": entry(shape=(2,), offsets=(0, 8))}, "something was appended"),
        ({"w": entry(), "v": entry()}, "overlaps the one before it"),
        ({"w": {"shape": [4], "data_offsets": [0, 16]}}, "does not say what tensor 'w' is"),
        ({"w": {"dtype": "F32", "data_offsets": [0, 16]}}, "a shape that is not a list"),
        ({"w": 3}, "does not say what tensor 'w' is"),
        ({"": entry()}, "printable characters"),
        ({"a\nb": entry()}, "printable characters"),
        ({"\ud800": entry()}, "printable characters"),
        ({"x" * 1001: entry()}, "printable characters"),
        (b'{"w": 1, "w": 2}', "a key comes twice"),
        (b'{"w": 1, "w" \n : 2}', "a key comes twice"),
        (b'{"a:b": 1, "a:b": 2}', "a key comes twice"),
        (b'{"w": {"dtype": "F32", "shape": [4], "shape": [2]}}', "a key comes twice"),
        (b'{"w": [[{"a": 1, "a": 2}]]}', "a key comes twice"),
        ({"w": entry(shape=[True])}, "a shape of True"),
        ({"w": entry(shape=[4.0])}, "a shape of 4.0"),
        (b'{"w": NaN}', "NaN is not JSON"),
        (b'{"w": ' + b"[" * 100_000, "JSON is damaged"),
        (b'{"w": ' + b"9" * 5000 + b"}", "JSON is damaged"),
        (b'{"w": "\xff"}', "JSON is damaged"),
        (b'{"w": ', "JSON is damaged"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_header_that_lies_is_an_error(tmp_path: Path, header: object, expected: str) -> None:
    assert expected in problem_of(written(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty (0 bytes)"),
        (b"\x01\0\0", "not a safetensors file"),
        (struct.pack("<Q", 2**63) + b'{"a', "claims a header of 9223372036854775808 bytes"),
        (struct.pack("<Q", 10**8) + b'{"a', "cut short: its header needs 100000000 bytes"),
    ],
)
def test_a_file_without_a_whole_header_is_an_error(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)

    assert expected in problem_of(path)


def test_padding_behind_the_header_is_allowed(tmp_path: Path) -> None:
    text = json.dumps({"w": entry()}).encode() + b"      "

    assert names(READER.describe(written(tmp_path / "a.safetensors", text))) == ["w"]


def test_a_file_without_tensors_is_described(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", {}, b"")

    assert READER.recognises(path)
    assert READER.describe(path).tensors == ()


def test_files_are_recognised_by_content(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "odd.name")
    torch.save({"w": torch.ones(1)}, tmp_path / "a.pt")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()

    assert READER.recognises(tmp_path / "odd.name")
    assert not any(READER.recognises(tmp_path / n) for n in ("a.pt", "text", "empty", "none", "."))


def test_damage_anywhere_ends_as_in_the_library_or_in_a_format_error(tmp_path: Path) -> None:
    chance = random.Random(20240607)
    whole_path = tmp_path / "a.safetensors"
    state = {"conv.weight": torch.ones(3, 2), "conv.bias": torch.ones(3), "n": torch.tensor(4)}
    save_file(state, whole_path, {"epoch": "3"})
    whole = whole_path.read_bytes()
    path = tmp_path / "damaged.safetensors"
    refusals = 0
    for case in range(600):
        damaged = bytearray(whole)
        if case % 4 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(chance.randrange(1, 4)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)

        READER.recognises(path)
        try:
            description = READER.describe(path)
        except FormatError:
            refusals += 1
            assert not opens_in_the_library(path)
        else:
            check_extents(description)
            assert opens_in_the_library(path) or any(s.refusal for s in description.tensors)

    assert 300 < refusals < 600


def check_extents(description: Description) -> None:
    """Fail unless every extent lies within its file."""
    for stored in description.tensors:
        extent = stored.values
        if isinstance(extent, Extent):
            end = extent.offset + extent.elements * DTYPES[extent.dtype].size_bytes
            assert 0 <= extent.offset <= end <= os.path.getsize(extent.path)
        else:
            assert stored.refusal


def opens_in_the_library(path: Path) -> bool:
    try:
        with safe_open(path, "pt"):
            return True
    except SafetensorError:
        return False


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data in ../shared/data")
def test_a_real_file_is_described_bit_for_bit() -> None:
    path = SHARED / "onnx" / "silero_vad" / "silero_vad_16k.safetensors"
    loaded = load_file(path)

    description = READER.describe(path)

    assert READER.recognises(path)
    assert set(names(description)) == set(loaded)
    assert all(torch.equal(values_of(s), loaded[s.name]) for s in description.tensors)
