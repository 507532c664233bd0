"""Tests for readers, built-in and third-party: the contract that every reader must pass.

Subclass `ReaderContract` in a pytest module and provide one fixture::

    class TestMyReader(ReaderContract):
        @pytest.fixture
        def case(self, tmp_path):
            weights = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
            path = tmp_path / "model.mine"
            my_library.save(weights, path)
            return ReaderCase(MyReader(), path, weights)

The contract writes damaged copies beside the file; it needs pytest.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import os
import random
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.dtypes import DTYPES, is_measurable
from accweight_core.errors import FormatError
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.io.widening import working_dtype
from accweight_core.naming import layers_of
from accweight_core.readers import Reader
from accweight_core.remote import path_at
from accweight_core.runs.training_state import weights_alone
from accweight_core.schema import Description, Extent, Role, StoredTensor

MOST_EXTRA_BYTES = 16 << 20
"""Memory a reader may use in addition to the size of the file."""


Weights = Mapping[str, npt.NDArray[np.generic]]
"""Values by name."""


@dataclass(frozen=True)
class ReaderCase:
    """A file and its known contents.

    Attributes:
        reader: The reader under test.
        path: A file it reads, or a folder that is one checkpoint.
        weights: The values, by the names that the reader should give.
        beside: For formats with pickles in them: writes the same weights to a path, with an object
            beside them; None for other formats.
        ordered: Whether `weights` is in the order of the network, and the format keeps that.
        several: For formats that hold several networks: writes networks by name to a path; None for
            other formats.
        left_out: A word for each thing in the file that is not the model (an optimizer, a copy),
            as the note on it has it. With any, nothing but `weights` may be left.
    """

    reader: Reader
    path: Path
    weights: Weights
    left_out: tuple[str, ...] = ()
    beside: Callable[[Path, object], object] | None = None
    ordered: bool = False
    several: Callable[[Path, Mapping[str, Weights]], object] | None = None


class Colour(enum.Enum):
    """A choice, as settings contain it."""

    RED = 1


@dataclass
class Settings:
    """Settings, one of which is themselves."""

    rate: float = 0.1
    me: Any = None


def neighbours() -> dict[str, object]:
    """Return objects as programs save them beside weights; readers need none of their classes."""
    settings = Settings()
    settings.me = settings
    return {
        "namespace": argparse.Namespace(lr=0.1, inner=argparse.Namespace()),
        "path": PurePosixPath("runs/a"),
        "date": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "defaultdict": collections.defaultdict(list, seen=[1.0]),
        "deque": collections.deque([1, 2]),
        "counter": collections.Counter("abc"),
        "enum": Colour.RED,
        "dataclass": settings,
        "class": Settings,
        "partial": functools.partial(sorted, reverse=True),
        "sets": [{1, 2}, frozenset({3}), set()],
        "exception": ValueError("x"),
        "scalar": np.float32(0.5),
        "random state": np.random.RandomState(0).get_state(),
        "generator": np.random.default_rng(0),
    }


class Command:
    """Pickled as a call that makes a file, in a program that trusts its files."""

    def __init__(self, marker: Path) -> None:
        """Take the file to make."""
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call."""
        return os.mkdir, (str(self.marker),)


def values_of(tensor: StoredTensor) -> npt.NDArray[np.generic]:
    """Return all values of a tensor, widened, in its shape."""
    out = np.empty(tensor.values.elements, working_dtype(tensor))
    with OpenFiles() as files:
        read_stretch(files, tensor, 0, tensor.values.elements, out)
    values: npt.NDArray[np.generic] = out.reshape(tensor.shape)
    return values


class ReaderContract:
    """Rules for every reader; each test states one."""

    damaged_cases = 60
    """Number of damaged copies; each has a cut or a flipped byte at a seeded position."""

    def test_recognises_its_own_file(self, case: ReaderCase) -> None:
        """A reader recognises its format by content, whatever the file name."""
        renamed = case.path.with_name("renamed.unknown")
        if case.path.is_dir():
            shutil.copytree(case.path, renamed)
            assert case.reader.recognises(renamed)
        elif case.path.suffix != ".json":
            shutil.copy(case.path, renamed)
            assert case.reader.recognises(renamed)
        assert case.reader.recognises(case.path)

    def test_recognises_nothing_else(self, case: ReaderCase, tmp_path: Path) -> None:
        """Other formats and empty files are rejected without an error."""
        for name, content in {
            "empty": b"",
            "text": b"hello\n" * 20,
            "noise": random.Random(0).randbytes(4096),
            "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        }.items():
            path = tmp_path / f"{name}{case.path.suffix}"
            path.write_bytes(content)
            assert not case.reader.recognises(path), name
        if not case.path.is_dir():
            return
        folder = tmp_path / "folder of texts"
        folder.mkdir()
        assert not case.reader.recognises(folder), "an empty folder"
        (folder / "README.txt").write_bytes(b"hello\n")
        assert not case.reader.recognises(folder), folder.name

    def test_names_shapes_and_values_are_those_that_were_saved(self, case: ReaderCase) -> None:
        """Names, shapes and values are those saved, bit for bit."""
        tensors = {t.name: t for t in case.reader.describe(case.path).tensors}

        assert set(case.weights) <= set(tensors)
        for name, expected in case.weights.items():
            assert tensors[name].shape == expected.shape
            if is_measurable(tensors[name].dtype):
                got = values_of(tensors[name])
                np.testing.assert_array_equal(got, expected.astype(got.dtype))

    def test_parameters_are_in_the_order_of_the_network(self, case: ReaderCase) -> None:
        """Parameters come in the order in which the network uses them, if the format keeps it."""
        if not case.ordered:
            return
        names = [tensor.name for tensor in case.reader.describe(case.path).tensors]

        assert [name for name in names if name in case.weights] == list(case.weights)

    def test_several_networks_in_one_file_keep_their_names(
        self, case: ReaderCase, tmp_path: Path
    ) -> None:
        """Networks side by side are told apart by name, and none is lost."""
        if case.several is None:
            return
        networks = {
            "G": {name: values for name, values in case.weights.items() if values.ndim},
            "D": {
                n: np.array(values[::-1]) for n, values in case.weights.items() if values.ndim > 1
            },
        }
        path = tmp_path / f"several{''.join(case.path.suffixes)}"
        case.several(path, networks)

        tensors = {t.name: t for t in case.reader.describe(path).tensors}
        expected = {
            f"{key}.{n}": v for key, weights in networks.items() for n, v in weights.items()
        }
        assert set(tensors) == set(expected)
        for name, values in expected.items():
            got = values_of(tensors[name])
            np.testing.assert_array_equal(got, values.astype(got.dtype))

    def test_other_files_beside_it_do_not_change_it(self, case: ReaderCase) -> None:
        """Logs, notes and settings beside a checkpoint, or in its folder, are no part of it."""
        before = [(t.name, t.shape) for t in case.reader.describe(case.path).tensors]

        with tempfile.TemporaryDirectory() as place:
            path = Path(shutil.copytree(case.path.parent, Path(place) / "copy")) / case.path.name
            folder = path if path.is_dir() else path.parent
            (folder / "logs").mkdir()
            for name in ("README.md", ".DS_Store", "train.log", "notes.txt", "logs/events.txt"):
                (folder / name).write_bytes(b"\x00hello\n")
            assert case.reader.recognises(path)
            assert [(t.name, t.shape) for t in case.reader.describe(path).tensors] == before

    def test_a_url_is_read_as_a_local_file_is(self, case: ReaderCase) -> None:
        """Readers open files with ``path.open("rb")``, so that URLs work too.

        Needs fsspec, and is skipped without it.
        """
        import pytest

        system = pytest.importorskip("fsspec").filesystem("memory")
        root = f"/accweight-contract-{id(case)}"
        for file in case.path.parent.rglob("*"):
            if file.is_file():
                inner = file.relative_to(case.path.parent).as_posix()
                system.pipe_file(f"{root}/{inner}", file.read_bytes())
        path = path_at(f"memory://{root[1:]}/{case.path.name}")
        try:
            assert case.reader.recognises(path)
            tensors = {t.name: t for t in case.reader.describe(path).tensors}
            local = case.reader.describe(case.path).tensors
            assert list(tensors) == [t.name for t in local]
            for tensor in local:
                assert tensors[tensor.name].shape == tensor.shape
                if is_measurable(tensor.dtype) and not tensor.refusal:
                    np.testing.assert_array_equal(
                        values_of(tensors[tensor.name]), values_of(tensor)
                    )
        finally:
            system.rm(root, recursive=True)

    def test_names_are_unique(self, case: ReaderCase) -> None:
        """No two tensors of one checkpoint share a name."""
        names = [tensor.name for tensor in case.reader.describe(case.path).tensors]

        assert len(set(names)) == len(names)

    def test_what_is_not_the_model_is_left_out_and_said_once(self, case: ReaderCase) -> None:
        """Optimizer state is marked as such or left out, and each thing has one note.

        accweight itself leaves out tensors of `Role.OPTIMIZER`, and what names tell.
        """
        description = weights_alone(case.reader.describe(case.path))

        notes = description.notes
        assert len(set(notes)) == len(notes)
        assert all(len(note.splitlines()) == 1 for note in notes)
        for word in case.left_out:
            assert sum(word in note for note in notes) == 1, f"{word} in {notes}"
        if case.left_out:
            assert {tensor.name for tensor in description.tensors} == set(case.weights)

    def test_counters_are_buffers(self, case: ReaderCase) -> None:
        """Whole numbers of 64 bits and truth values are counters, indices or masks, not weights."""
        layers = layers_of(case.reader.describe(case.path).tensors)

        for parameter in (each for layer in layers for each in layer.parameters):
            if parameter.dtype in ("int64", "bool"):
                assert parameter.role in (Role.BUFFER, Role.OPTIMIZER), parameter.name

    def test_measures_are_numbers(self, case: ReaderCase) -> None:
        """Training metrics are numbers by name; a loss may be NaN or infinite."""
        measures = case.reader.describe(case.path).measures

        assert all(name and name.isprintable() for name in measures)
        assert all(type(value) is float for value in measures.values())

    def test_describing_takes_little_memory(self, case: ReaderCase) -> None:
        """Describing does not load the weights."""
        case.reader.describe(case.path)  # imports do not count
        tracemalloc.start()
        case.reader.describe(case.path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak < MOST_EXTRA_BYTES

    def test_objects_beside_the_weights_do_not_cost_them(
        self, case: ReaderCase, tmp_path: Path
    ) -> None:
        """Objects of any class beside the weights are ignored, in formats with pickles."""
        if case.beside is None:
            return
        for kind, neighbour in neighbours().items():
            path = tmp_path / f"beside{''.join(case.path.suffixes)}"
            case.beside(path, neighbour)
            tensors = {t.name: t for t in case.reader.describe(path).tensors}
            for name, expected in case.weights.items():
                assert tensors[name].shape == expected.shape, kind
                if is_measurable(tensors[name].dtype):
                    got = values_of(tensors[name])
                    np.testing.assert_array_equal(got, expected.astype(got.dtype), kind)

    def test_a_command_beside_the_weights_is_not_run(
        self, case: ReaderCase, tmp_path: Path
    ) -> None:
        """A pickle that would run a command is refused, or read without running it."""
        if case.beside is None:
            return
        marker = tmp_path / "marker"
        path = tmp_path / f"command{''.join(case.path.suffixes)}"
        case.beside(path, Command(marker))

        case.reader.recognises(path)
        assert "\n" not in _checked(case.reader, path)
        assert not marker.exists()

    def test_damaged_files_are_refused_or_described_within_their_bounds(
        self, case: ReaderCase, tmp_path: Path
    ) -> None:
        """Cut or altered files give a one-line FormatError, or extents inside the file."""
        chance = random.Random(7)
        broken = tmp_path / f"broken{''.join(case.path.suffixes)}"
        files = [case.path]
        if case.path.is_dir():
            shutil.copytree(case.path, broken)
            files = sorted(file for file in case.path.rglob("*") if file.is_file())
        for number in range(self.damaged_cases):
            file = files[number // 2 % len(files)]
            content, place = file.read_bytes(), broken / file.relative_to(case.path)
            place.write_bytes(_damaged(content, number, chance))
            problem = _checked(case.reader, broken)
            place.write_bytes(content)
            assert "\n" not in problem
            assert broken.name in problem


def _damaged(content: bytes, number: int, chance: random.Random) -> bytes:
    """Return the content cut, or with one byte replaced, at a random position."""
    place = chance.randrange(len(content))
    if number % 2:
        return content[:place]
    return (
        content[:place]
        + bytes([content[place] ^ (1 << chance.randrange(8))])
        + content[place + 1 :]
    )


def _checked(reader: Reader, path: Path) -> str:
    """Return the text of the FormatError, or the file name if the description is in bounds."""
    try:
        description = reader.describe(path)
    except FormatError as refusal:
        return str(refusal)
    _check_bounds(description)
    return path.name


def _check_bounds(description: Description) -> None:
    for tensor in description.tensors:
        values = tensor.values
        if isinstance(values, Extent):
            strides = values.strides or _c_strides(values.shape)
            reach = sum((n - 1) * s for n, s in zip(values.shape, strides, strict=True)) + 1
            end = (
                values.offset + (reach if values.elements else 0) * DTYPES[values.dtype].size_bytes
            )
            assert values.offset >= 0
            assert end <= Path(values.path).stat().st_size


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.insert(0, step)
        step *= max(length, 1)
    return tuple(strides)
