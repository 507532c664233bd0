"""Arrays on disk: any part reads as zarr reads it, and damage is never taken for numbers."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to
from zarr.codecs import BytesCodec

from accweight_core.errors import StoreError
from accweight_core.store.groups import create_group
from accweight_core.store.zarr_chunks import ChunkedArray, open_array

Values = npt.NDArray[np.floating[Any]]


def numbered(shape: tuple[int, ...], dtype: str = "float32") -> Values:
    """Values by which every element can be told from all others."""
    return np.arange(math.prod(shape), dtype=dtype).reshape(shape)


def written(
    path: Path, values: Values, chunk: tuple[int, ...], dtype: str = "float32"
) -> ChunkedArray:
    array = ChunkedArray(path, values.shape, chunk, dtype).create()
    starts = (range(0, length, step) for length, step in zip(values.shape, chunk, strict=True))
    for start in product(*starts):
        stretch = tuple(slice(s, s + step) for s, step in zip(start, chunk, strict=True))
        array.write(start, values[stretch])
    return array


def opened(path: Path) -> ChunkedArray:
    array = ChunkedArray.open(path)
    assert array is not None
    return array


# --- any part, as zarr reads it


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of its own for every example."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "array"


@st.composite
def parts(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int | slice, ...]]:
    """A shape, the shape of its chunks, and an index."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    chunk = tuple(draw(st.integers(1, length + 3)) for length in shape)
    index = tuple(
        draw(
            st.integers(-length, length - 1)
            | st.builds(slice, *[st.none() | st.integers(-length - 2, length + 2)] * 2)
        )
        for length in shape[: draw(st.integers(1, len(shape)))]
    )
    return shape, chunk, index


@given(case=parts(), dtype=st.sampled_from(["float32", "float64"]), lost=st.integers(0, 30))
@settings(max_examples=up_to(150))
def test_any_part_reads_as_zarr_reads_it(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int | slice, ...]], dtype: str, lost: int
) -> None:
    shape, chunk, index = case
    with folder() as path:
        written(path, numbered(shape, dtype), chunk, dtype)
        for file in sorted(path.glob("c.*"))[lost : lost + 1]:
            file.unlink()

        part = opened(path)[index]

        expected: Any = zarr.open_array(path, mode="r")[index]
        np.testing.assert_array_equal(part, expected)
        assert np.shape(part) == np.shape(expected)
        assert part.dtype == dtype


@pytest.mark.parametrize("chunk", [(4, 33, 64), (20, 5, 200), (20, 99, 130), (1, 100, 130)])
def test_windows_of_a_picture_are_what_was_written(tmp_path: Path, chunk: tuple[int, ...]) -> None:
    values, chance = numbered((20, 99, 130)), np.random.default_rng(0)

    array = written(tmp_path / "array", values, chunk)

    for _ in range(40):
        row, col = chance.integers(0, 99), chance.integers(0, 130)
        window = (slice(None), slice(row, row + 64), slice(col, col + 64))
        np.testing.assert_array_equal(array[window], values[window])
    np.testing.assert_array_equal(array[:], values)
    np.testing.assert_array_equal(array[-3], values[-3])
    np.testing.assert_array_equal(array[2:5, 10:74, 0:64], values[2:5, 10:74, 0:64])
    np.testing.assert_array_equal(array[7, 98], values[7, 98])
    assert array[19, 98, 129] == values[19, 98, 129]
    assert array[5:2].shape == (0, 99, 130)


def test_a_single_index_may_be_a_number_of_numpy(tmp_path: Path) -> None:
    values = numbered((4, 5))
    array = written(tmp_path / "array", values, (2, 2))

    for step in np.arange(4):
        np.testing.assert_array_equal(array[step], values[step])


def test_what_was_read_can_be_changed_and_is_no_window_to_the_file(tmp_path: Path) -> None:
    array = written(tmp_path / "array", numbered((4, 6, 6)), (2, 6, 6))

    for part in (array[:], array[0], array[:, 1:3, 1:3]):
        part[...] = -1

    np.testing.assert_array_equal(array[:], numbered((4, 6, 6)))


def test_only_the_chunks_of_a_part_are_opened(tmp_path: Path) -> None:
    values = numbered((4, 8, 8))
    array = written(tmp_path / "array", values, (2, 4, 4))
    for file in array.path.glob("c.*"):
        if not file.name.endswith(".1.0"):
            file.write_bytes(b"damaged")

    part = array[:, 4:7, 1:4]

    np.testing.assert_array_equal(part, values[:, 4:7, 1:4])


def test_a_window_is_read_out_of_a_file_larger_than_memory(tmp_path: Path) -> None:
    shape = (16, 1 << 15, 1 << 15)
    array = ChunkedArray(tmp_path, shape, shape).create()
    with (tmp_path / "c.0.0.0").open("wb") as file:
        file.truncate(4 * math.prod(shape))  # 64 GiB, of which nothing takes room
        file.seek(4 * int(np.ravel_multi_index((15, 120, 130), shape)))
        file.write(np.float32(7).tobytes())

    window = array[:, 100:164, 100:164]

    assert window[15, 20, 30] == 7
    assert window.sum() == 7


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (4, "no position 4 along axis 0 of 4"),
        ((0, -6), "no position -6 along axis 1 of 5"),
        ((0, 0, 0), "has 2 axes, not 3"),
        (slice(None, None, 2), "in steps of 1, not 2"),
        (slice(None, None, -1), "in steps of 1, not -1"),
    ],
)
def test_what_is_not_there_is_an_index_error(tmp_path: Path, index: Any, message: str) -> None:
    array = written(tmp_path / "array", numbered((4, 5)), (2, 2))

    with pytest.raises(IndexError, match=message):
        array[index]


# --- damage


def test_a_lost_chunk_is_nan_where_it_lay(tmp_path: Path) -> None:
    values = numbered((2, 6))
    array = written(tmp_path / "array", values, (2, 4))
    (array.path / "c.0.1").unlink()

    assert np.isnan(array[:, 4:]).all()
    np.testing.assert_array_equal(array[:, :4], values[:, :4])


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("index", [slice(None), (0, slice(4, 6)), (slice(None), 5)], ids=str)
def test_a_chunk_of_another_length_is_damaged(
    tmp_path: Path, damage: Callable[[bytes], bytes], index: Any
) -> None:
    array = written(tmp_path / "array", numbered((2, 6)), (2, 4))
    file = array.path / "c.0.1"
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(StoreError, match=r"array/c\.0\.1: is damaged: expected 32 bytes, got"):
        array[index]


def test_a_chunk_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    array = written(tmp_path / "array", numbered((2, 6)), (2, 4))
    (array.path / "c.0.1").unlink()
    (array.path / "c.0.1").mkdir()

    with pytest.raises(StoreError, match=r"array/c\.0\.1: cannot be read \(Is a directory\)"):
        array[:]


# --- arrays of other makers


OTHER_FORMS: dict[str, dict[str, Any]] = {
    "compressed": {},
    "sharded": {"compressors": None, "chunks": (2, 2), "shards": (4, 4)},
    "in folders": {"compressors": None},
    "big endian": {"serializer": BytesCodec(endian="big"), "compressors": None},
    "another separator": {"compressors": None, "chunk_key_encoding": {"name": "v2"}},
    "zeros where nothing lies": {"fill_value": 0, "compressors": None},
    "integers": {"dtype": "int32", "fill_value": 0, "compressors": None},
}


@pytest.mark.parametrize("options", OTHER_FORMS.values(), ids=OTHER_FORMS.keys())
def test_another_form_is_left_to_zarr(tmp_path: Path, options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"dtype": "float32", "chunks": (2, 3), "fill_value": np.nan, **options}
    zarr.create_array(tmp_path, shape=(4, 6), **given)[:] = numbered((4, 6))

    ours, array = ChunkedArray.open(tmp_path), open_array(tmp_path)

    assert ours is None
    assert array.shape == (4, 6)
    np.testing.assert_array_equal(array[1:3, 2], numbered((4, 6))[1:3, 2])


def test_metadata_that_zarr_has_written_anew_is_still_ours(tmp_path: Path) -> None:
    values = numbered((4, 6))
    written(tmp_path, values, (2, 3))
    zarr.open_array(tmp_path, mode="r+").attrs["unit"] = "radians"

    array = opened(tmp_path)

    np.testing.assert_array_equal(array[:], values)


@pytest.mark.parametrize("content", ["", "[]", "5", "{}", '{"zarr_format": 3, "shape": [2]}'])
def test_metadata_that_is_damaged_is_not_ours_nor_a_reason_to_install_zarr(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zarr.json").write_text(content)
    monkeypatch.setitem(sys.modules, "zarr", None)

    assert ChunkedArray.open(tmp_path) is None
    with pytest.raises(ValueError):  # noqa: PT011
        open_array(tmp_path)


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((), ()), ((4,), (0,)), ((4,), (2, 2)), ((-4,), (2,)), ((4.5,), (2.5,)), (("4",), ("2",))],
    ids=str,
)
def test_shapes_that_cannot_be_are_not_ours(
    tmp_path: Path, shape: tuple[Any, ...], chunk: tuple[Any, ...]
) -> None:
    ChunkedArray(tmp_path, shape, chunk).create()

    assert ChunkedArray.open(tmp_path) is None


def test_where_nothing_lies_there_is_no_array(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ChunkedArray.open(tmp_path / "nothing")


# --- one writes, another reads


@contextmanager
def repeating(act: Callable[[int], object]) -> Iterator[None]:
    """Do something again and again in another thread."""
    enough = threading.Event()

    def repeat() -> None:
        count = 0
        while not enough.is_set():
            act(count := count + 1)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_a_chunk_is_read_as_it_was_or_as_it_is(tmp_path: Path) -> None:
    array = written(tmp_path, np.zeros((64, 256), np.float32), (64, 256))
    seen: set[float] = set()

    with repeating(lambda count: array.write((0, 0), np.full((64, 256), count, np.float32))):
        for _ in range(300):
            for part in (array[:], array[:, 100:164]):
                assert part.min() == part.max()
                seen.add(float(part[0, 0]))

    assert len(seen) > 1


def test_attributes_are_read_as_they_were_or_as_they_are(tmp_path: Path) -> None:
    create_group(tmp_path, {"numbers": [0] * 5000, "other": 1})
    seen: set[int] = set()

    def written(count: int) -> None:
        create_group(tmp_path, {"numbers": [count] * (count % 5000 + 1), "other": 1})

    with repeating(written):
        for _ in range(100):
            attributes: Any = zarr.open_group(tmp_path, mode="r").attrs
            assert len({*attributes["numbers"]}) == 1
            assert attributes["other"] == 1
            seen.add(attributes["numbers"][0])

    assert len(seen) > 1
    assert os.listdir(tmp_path) == ["zarr.json"]
