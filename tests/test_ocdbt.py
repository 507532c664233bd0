"""The key-value store of Orbax, against TensorStore itself, and on stores that lie."""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from fuzzing import mutations

from accweight_adapters.bytes.compressed import of_blosc, of_deflate, unpacked_zstd
from accweight_adapters.jax.marks import MANIFEST
from accweight_adapters.jax.ocdbt import (
    MANIFEST_MAGIC,
    NODE_MAGIC,
    Piece,
    path_below,
    stored_values,
)
from accweight_adapters.jax.zarr_arrays import plan_of
from accweight_adapters.jax.zarr_values import tensor_in
from accweight_adapters.untrusted import ClaimError
from accweight_core.errors import FormatError, MissingLibraryError
from accweight_core.testing import values_of


@pytest.fixture(scope="module")
def tensorstore() -> Any:
    """Return the library, without importing it where only names of tests are wanted."""
    return pytest.importorskip("tensorstore")


def filled(tensorstore: Any, folder: Path, **config: Any) -> dict[str, bytes]:
    """Write a store of many keys in several versions; return what is in it."""
    chance = random.Random(0)
    spec = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}, "config": config}
    store = tensorstore.KvStore.open(spec).result()
    wanted = {f"a/{n % 7}/key{n}": chance.randbytes(n % 60) for n in range(400)}
    transaction = tensorstore.Transaction()
    for key, value in wanted.items():
        store.with_transaction(transaction)[key] = value
    transaction.commit_async().result()
    for n in range(3):
        store[f"late{n}"] = b"x" * n
        wanted[f"late{n}"] = b"x" * n
    return wanted


CONFIGS = (
    {},
    {"compression": None},
    {"max_decoded_node_bytes": 600, "max_inline_value_bytes": 20},
    {"max_decoded_node_bytes": 300, "max_inline_value_bytes": 0, "compression": None},
)


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_all_keys_and_values_are_those_of_the_library(
    tensorstore: Any, tmp_path: Path, config: dict[str, Any]
) -> None:
    wanted = filled(tensorstore, tmp_path, **config)

    found = stored_values(tmp_path)

    assert {key: piece.read() for key, piece in found.items()} == wanted


def test_stores_that_were_merged_are_followed_into_their_folders(
    tensorstore: Any, tmp_path: Path
) -> None:
    wanted = filled(tensorstore, tmp_path / "ocdbt.process_0", **CONFIGS[2])
    context = tensorstore.Context()
    part, whole = (
        tensorstore.KvStore.open(
            {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}, context=context
        ).result()
        for folder in (tmp_path / "ocdbt.process_0", tmp_path)
    )
    transaction = tensorstore.Transaction(atomic=True)
    part.experimental_copy_range_to(whole.with_transaction(transaction)).result()
    transaction.commit_async().result()

    found = stored_values(tmp_path)

    assert {key: piece.read() for key, piece in found.items()} == wanted
    assert {piece.path.parent.parent.name for piece in found.values() if piece.content is None} == {
        "ocdbt.process_0"
    }


def sealed(magic: int, body: bytes) -> bytes:
    """Return a node or a manifest that is not compressed."""
    return _resealed(magic.to_bytes(4, "big") + bytes(10) + body + bytes(4))


def files_of(base: bytes, name: bytes) -> bytes:
    """Return a table of one data file, its path in two parts."""
    return bytes([1, len(base + name), len(base)]) + base + name


def test_paths_of_nodes_are_passed_on_to_the_nodes_below(tmp_path: Path) -> None:
    leaf = b"\0" + files_of(b"", b"d/z") + b"\1" + b"\1" + b"k" + b"\3" + b"\1" + b"\0" + b"\2"
    below = sealed(NODE_MAGIC, leaf)
    inner = b"\1" + files_of(b"e/", b"y") + b"\1" + b"\2" + b"\2" + b"a/" + b"\0\0"
    root = sealed(NODE_MAGIC, inner + bytes([len(below)]) + b"\1\1\1")
    version = b"\1\1\1" + b"\0\0" + bytes([len(root)]) + b"\1\1\1" + bytes(8) + b"\0"
    config = bytes(16) + b"\0\1\1" + b"\4" + b"\0"
    manifest = sealed(MANIFEST_MAGIC, config + files_of(b"sub/", b"x") + version)
    for name, content in {
        MANIFEST: manifest, "sub/x": root, "sub/e/y": below, "sub/e/d/z": b"..abc"
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)

    ((key, piece),) = stored_values(tmp_path).items()

    assert (key, piece.read()) == ("a/k", b"abc")


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../b", "", "a//b", "a\\b", "a\nb", "x" * 5000, "gone"]
)
def test_files_outside_the_folder_or_missing_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "secret").write_text("secret")

    with pytest.raises(ClaimError, match=r"names a file|is missing"):
        path_below(tmp_path / "c", name)


def _resealed(content: bytes) -> bytes:
    """Return a node with the length and the checksum that it should have."""
    sealed = bytearray(content)
    if len(sealed) < 18:
        return content
    sealed[4:12] = len(sealed).to_bytes(8, "little")
    sealed[-4:] = google_crc32c.value(bytes(sealed[:-4])).to_bytes(4, "little")
    return bytes(sealed)


@pytest.mark.parametrize("config", [CONFIGS[1], CONFIGS[3]], ids=["one node", "many nodes"])
def test_damage_behind_sound_checksums_is_refused_or_stays_within_bounds(
    tensorstore: Any, tmp_path: Path, config: dict[str, Any]
) -> None:
    filled(tensorstore, tmp_path, **config)
    manifest = tmp_path / MANIFEST
    content = manifest.read_bytes()
    refusals = 0

    for damaged in mutations(content, 150, seed=5):
        manifest.write_bytes(_resealed(damaged))
        refusals += _is_refused(tmp_path)
    manifest.write_bytes(content)
    for file in sorted((tmp_path / "d").iterdir())[:4]:
        content = file.read_bytes()
        starts = [i for i in range(len(content)) if content[i : i + 4] == b"\x0c\xdb\x20\xde"]
        for start in starts[:10]:
            length = int.from_bytes(content[start + 4 : start + 12], "little")
            for damaged in itertools.islice(_same_length(content[start : start + length]), 10):
                file.write_bytes(content[:start] + damaged + content[start + length :])
                refusals += _is_refused(tmp_path)
        file.write_bytes(content)

    assert refusals > 60


def _same_length(node: bytes) -> Any:
    chance = random.Random(len(node))
    while True:
        damaged = bytearray(node)
        for _ in range(chance.choice((1, 2, 3))):
            damaged[chance.randrange(14, len(node) - 4)] = chance.choice((0, 1, 127, 255))
        yield _resealed(bytes(damaged))


def _is_refused(folder: Path) -> bool:
    try:
        for piece in stored_values(folder).values():
            assert piece.content is not None or piece.offset + piece.size_bytes <= 1 << 20
    except ClaimError:
        return True
    return False


# ---------------------------------------------------------------- arrays


def stored(tensorstore: Any, folder: Path, array: np.ndarray, spec: dict[str, Any]) -> None:
    base = {"kvstore": {"driver": "file", "path": str(folder)}, "create": True}
    tensorstore.open(base | spec).result().write(array).result()


def read(folder: Path) -> Any:
    """Return what the array in a folder is read as."""
    pieces = {
        str(f.relative_to(folder)): Piece(f, 0, f.stat().st_size)
        for f in folder.rglob("*") if f.is_file()
    }  # fmt: skip
    metadata = next(pieces[name] for name in (".zarray", "zarr.json") if name in pieces)
    return tensor_in(folder, "Zarr", "w", plan_of(metadata.read()), pieces)


def version_2(**metadata: Any) -> dict[str, Any]:
    return {
        "driver": "zarr",
        "metadata": {"shape": [7, 5], "chunks": [3, 2], "dtype": "<f4"} | metadata,
    }


def version_3(*codecs: Any, **metadata: Any) -> dict[str, Any]:
    grid = {"name": "regular", "configuration": {"chunk_shape": [4, 2]}}
    usual = {"shape": [7, 5], "data_type": "float32", "chunk_grid": grid, "codecs": list(codecs)}
    return {"driver": "zarr3", "metadata": usual | metadata}


BYTES = {"name": "bytes", "configuration": {"endian": "big"}}
ZSTD = {"name": "zstd", "configuration": {"level": 1}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
BLOSC = {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}}
TURNED = {"name": "transpose", "configuration": {"order": [1, 0]}}
CRC = {"name": "crc32c"}


def sharded(*codecs: Any, at: str = "end", chunk: tuple[int, int] = (2, 2)) -> dict[str, Any]:
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    options = {"chunk_shape": chunk, "codecs": codecs, "index_location": at}
    return {"name": "sharding_indexed", "configuration": options | {"index_codecs": [plain, CRC]}}


@pytest.mark.parametrize(
    "spec",
    [
        version_2(compressor=None),
        version_2(compressor=None, chunks=[7, 5]),
        version_2(compressor=None, chunks=[7, 5], order="F", dtype=">f4"),
        version_2(compressor={"id": "zstd", "level": 1}, dtype=">f8", order="F"),
        version_2(compressor={"id": "zlib", "level": 1}, dimension_separator="/"),
        version_2(compressor={"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1}),
        version_2(compressor={"id": "blosc", "cname": "lz4", "clevel": 3, "shuffle": 2}),
        version_3(BYTES),
        version_3(TURNED, BYTES, ZSTD),
        version_3(BYTES, GZIP, CRC),
        version_3(BYTES, BLOSC),
        version_3(sharded(BYTES, ZSTD)),
        version_3(sharded(TURNED, BYTES, CRC, at="start")),
        version_3(BYTES, chunk_key_encoding={"name": "v2"}),
        version_3(
            TURNED, BYTES, chunk_grid={"name": "regular", "configuration": {"chunk_shape": [7, 5]}}
        ),
    ],
    ids=itertools.count(),
)
def test_arrays_of_every_coding_are_read_as_they_were(
    tensorstore: Any, tmp_path: Path, spec: dict[str, Any]
) -> None:
    array = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    stored(tensorstore, tmp_path, array, spec)

    tensor = read(tmp_path)

    assert not tensor.refusal
    np.testing.assert_array_equal(values_of(tensor), array)


def test_chunks_that_hold_only_the_fill_value_are_made_up(tensorstore: Any, tmp_path: Path) -> None:
    array = np.zeros((7, 5), np.float32)
    array[0, 0] = 2
    array[:, 2:] = 3.5
    stored(tensorstore, tmp_path, array, version_2(compressor=None, fill_value=3.5))

    assert len(list(tmp_path.iterdir())) == 4
    np.testing.assert_array_equal(values_of(read(tmp_path)), array)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (version_2(compressor={"id": "bz2", "level": 1}), "'bz2', which is not supported"),
        (version_3(sharded(sharded(BYTES, chunk=(1, 1)))), "nested more than once"),
        (version_3(BYTES, data_type="int4"), "'int4' is not supported"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said_and_not_guessed(
    tensorstore: Any, tmp_path: Path, spec: dict[str, Any], reason: str
) -> None:
    array = np.ones((7, 5), np.int8 if "int4" in json.dumps(spec) else np.float32)
    if "int4" in json.dumps(spec):
        array = array.astype(tensorstore.int4.numpy_dtype)
    stored(tensorstore, tmp_path, array, spec)

    assert reason in read(tmp_path).refusal


def test_without_its_library_blosc_is_described_and_reading_names_the_extra(
    tensorstore: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tensorstore, tmp_path, np.ones((7, 5), np.float32), version_3(BYTES, BLOSC))
    monkeypatch.setitem(sys.modules, "numcodecs", None)

    tensor = read(tmp_path)

    assert (tensor.shape, tensor.dtype, tensor.refusal) == ((7, 5), "float32", "")
    with pytest.raises(MissingLibraryError) as caught:
        values_of(tensor)
    assert str(caught.value) == (
        f"{tmp_path}: reading tensor 'w' needs numcodecs, which is not installed; "
        "install it with: pip install 'accweight[jax]'"
    )


@pytest.mark.parametrize(
    "spec",
    [
        version_2(compressor={"id": "zstd", "level": 1}),
        version_2(compressor={"id": "blosc", "cname": "lz4", "clevel": 3, "shuffle": 2}),
        version_2(compressor={"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1}),
        version_2(compressor={"id": "zlib", "level": 1}),
        version_3(sharded(BYTES, ZSTD)),
        version_3(BYTES, BLOSC),
    ],
    ids=itertools.count(),
)
def test_damaged_chunks_are_refused_or_read_as_something_of_their_shape(
    tensorstore: Any, tmp_path: Path, spec: dict[str, Any]
) -> None:
    array = np.random.default_rng(0).integers(0, 3, size=(7, 5)).astype(np.float32)
    stored(tensorstore, tmp_path, array, spec)
    chunk = next(f for f in sorted(tmp_path.rglob("*")) if f.is_file() and "zar" not in f.name)
    refusals = 0

    for damaged in mutations(chunk.read_bytes(), 150, seed=3):
        chunk.write_bytes(damaged)
        try:
            assert values_of(read(tmp_path)).shape == (7, 5)
        except (ClaimError, FormatError):
            refusals += 1

    assert refusals > 20


# ---------------------------------------------------------------- compression


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_what_is_packed_is_unpacked(size: int) -> None:
    from numcodecs import blosc, zstd

    raw = (b"abc" * size)[:size]

    assert unpacked_zstd(zstd.compress(raw), size) == raw
    assert unpacked_zstd(zstd.compress(raw), size + 1) == raw
    if size:
        assert of_blosc(blosc.compress(raw, b"lz4", 5), size) == raw


@pytest.mark.parametrize(
    ("undo", "stored"),
    [
        (of_blosc, lambda zstd, blosc: blosc.compress(bytes(1 << 24), b"lz4", 5)),
        (unpacked_zstd, lambda zstd, blosc: zstd.compress(bytes(1001))),
        (unpacked_zstd, lambda zstd, blosc: zstd.compress(bytes(1 << 24))),
        (
            unpacked_zstd,
            lambda zstd, blosc: b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 200,
        ),
        (
            unpacked_zstd,
            lambda zstd, blosc: b"\x28\xb5\x2f\xfd\xa0" + b"\xff" * 4 + b"\x01\x00\x00",
        ),
        (of_blosc, lambda zstd, blosc: b"\x02\x01\x21\x04" + b"\xff" * 12),
        (unpacked_zstd, lambda zstd, blosc: b""),
        (unpacked_zstd, lambda zstd, blosc: zstd.compress(b"abc") + b"d"),
        (unpacked_zstd, lambda zstd, blosc: zstd.compress(b"abc") * 2),
        (unpacked_zstd, lambda zstd, blosc: zstd.compress(b"abc")[:-1]),
        (of_blosc, lambda zstd, blosc: b"\x02"),
    ],
)
def test_bombs_are_refused_in_little_memory(
    undo: Callable[[bytes, int], bytes], stored: Callable[[Any, Any], bytes]
) -> None:
    from numcodecs import blosc, zstd

    content = stored(zstd, blosc)
    tracemalloc.start()
    try:
        with pytest.raises(ClaimError):
            undo(content, 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1 << 18


def test_deflate_stops_behind_what_is_expected() -> None:
    import zlib

    assert len(of_deflate(zlib.compress(bytes(1 << 24)), 1000)) == 1001
    assert of_deflate(zlib.compress(b"abc"), 3) == b"abc"
    assert math.isclose(len(of_deflate(zlib.compress(b"abc"), 9)), 3)
