"""Readers are found by entry point; a broken plug-in is a warning and the others go on."""

from __future__ import annotations

import errno
import io
import pickle
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from checkpoints import small, write_safetensors, write_small_run, write_torch

from accweight_core import readers as module
from accweight_core.errors import FormatError, SourceError
from accweight_core.readers import (
    GROUP,
    Reader,
    reader_for,
    reader_named,
    readers,
    unrecognised,
)
from accweight_core.remote import local
from accweight_core.runs.opening import open_run, survey
from accweight_core.runs.selection import Selection
from accweight_core.schema import Description


class MissingParts:
    """A plug-in that someone has only begun."""

    name = "half"


class Explosive:
    """A plug-in that raises where it should say no."""

    name = "explosive"
    suffixes = (".pt",)

    def recognises(self, path: Path) -> bool:
        """Fail."""
        raise RuntimeError("boom")

    def describe(self, path: Path) -> Description:
        """Fail."""
        raise RuntimeError("boom")


class Greedy(Explosive):
    """A plug-in that cannot even be made."""

    def __init__(self) -> None:
        raise RuntimeError("no licence")


@pytest.fixture(autouse=True)
def fresh_readers() -> Iterator[None]:
    """Look plug-ins up anew for each test, and after it."""
    readers.cache_clear()
    yield
    readers.cache_clear()


def with_plugin(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Let one more plug-in be installed."""
    installed = [*module.entry_points(group=GROUP), EntryPoint(name, value, GROUP)]
    monkeypatch.setattr(module, "entry_points", lambda group: installed)


def test_our_readers_are_found_and_keep_the_protocol() -> None:
    found = readers()

    assert {"safetensors", "torch"} <= set(found)
    assert list(found) == sorted(found)
    for name, reader in found.items():
        assert isinstance(reader, Reader)
        assert reader.name == name
        assert all(
            not suffix or (suffix.startswith(".") and suffix.islower())
            for suffix in reader.suffixes
        )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_package_anywhere:Reader", "No module named 'no_such_package_anywhere'"),
        ("accweight_core.readers:NoSuchReader", "NoSuchReader"),
        (f"{__name__}:Greedy", "no licence"),
    ],
    ids=["package missing", "class missing", "constructor fails"],
)
def test_a_broken_plugin_is_a_warning_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, reason: str
) -> None:
    with_plugin(monkeypatch, "broken", value)

    with pytest.warns(UserWarning, match=f"reader 'broken' cannot be used: .*{reason}"):
        found = readers()

    assert "broken" not in found
    assert list(open_run(write_small_run(tmp_path, ["e_1.pt", "e_2.pt"])).steps) == [1, 2]


def test_a_plugin_without_the_parts_of_a_reader_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_plugin(monkeypatch, "half", f"{__name__}:MissingParts")

    with pytest.warns(UserWarning, match="reader 'half' cannot be used"):
        opened = survey(write_small_run(tmp_path, ["e_1.pt", "e_2.pt"]))

    assert len(opened.checkpoints) == 2


@pytest.mark.filterwarnings("ignore:reader 'explosive'")
def test_a_plugin_that_fails_on_a_file_does_not_keep_others_from_reading_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_plugin(monkeypatch, "explosive", f"{__name__}:Explosive")

    opened = survey(write_small_run(tmp_path, ["e_1.pt", "e_2.pt"]))

    assert opened.reader == "torch"


def test_a_reader_is_found_by_content_whatever_the_suffix(tmp_path: Path) -> None:
    swapped = write_torch(tmp_path / "model.safetensors", small())
    other = write_safetensors(tmp_path / "model.pt", small())
    bare = write_torch(tmp_path / "model", small())

    found = [reader_for(path) for path in (swapped, other, bare)]

    assert [reader.name for reader in found if reader] == ["torch", "safetensors", "torch"]


def test_no_reader_is_found_for_what_none_knows(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("epoch 2 was good")

    assert reader_for(tmp_path / "notes.txt") is None
    assert reader_for(tmp_path / "gone.pt") is None
    assert reader_for(tmp_path) is None


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(SourceError) as caught:
        reader_named("abacus")

    known = ", ".join(readers())
    assert str(caught.value) == (f"no reader is called 'abacus'; installed readers: {known}")


def test_without_any_reader_the_list_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "entry_points", lambda group: [])

    with pytest.raises(SourceError, match="installed readers: none"):
        reader_named("torch")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty (0 bytes); was the save interrupted?"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "this is a Git LFS pointer, not the file itself; fetch it with: git lfs pull",
        ),
    ],
)
def test_the_likeliest_reason_is_given(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)

    error = unrecognised(path)

    assert isinstance(error, FormatError)
    assert str(error) == f"{path}: {expected}"
    assert error.path == str(path)


def test_a_file_of_no_known_format_is_told_the_formats(tmp_path: Path) -> None:
    path = tmp_path / "model.xyz"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")

    text = str(unrecognised(path))

    assert "no reader recognises its content (formats known: " in text
    assert ".safetensors" in text
    assert "--reader" in text


def test_a_damaged_file_is_told_what_its_ending_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")

    assert str(unrecognised(path)) == (
        f"{path}: no reader recognises its content (files of this ending are read as safetensors), "
        "so it is damaged or something else; if you are sure of the format, name it with --reader, "
        "or leave it out with --exclude 'model.safetensors'"
    )


def test_a_named_reader_is_used_without_a_look_at_the_content(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "model.unknown", small())

    assert survey(path, Selection.of(reader="torch")).reader == "torch"


class Failing(io.BytesIO):
    """A file on a disk that cannot read beyond a byte."""

    def __init__(self, content: bytes, readable: int) -> None:
        super().__init__(content)
        self.readable_bytes = readable

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes, or fail as a disk does."""
        content = super().read(size)
        if self.tell() > self.readable_bytes:
            raise OSError(errno.EIO, "Input/output error")
        return content


@pytest.mark.parametrize("name", ["step_1.pt", "step_1.npz", "step_1.safetensors", "step_1.pkl"])
@pytest.mark.parametrize("readable", [0, 5000])
def test_a_file_that_cannot_be_read_is_told_with_the_reason_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, readable: int
) -> None:
    weights = {"fc.weight": np.ones((100, 100), np.float32), "words": list(range(9000))}
    path = tmp_path / name
    path.write_bytes(pickle.dumps(weights) if name.endswith("pkl") else b"PK\x03\x04" + bytes(9000))
    content = path.read_bytes()
    monkeypatch.setattr(local, "open_local", lambda *_: Failing(content, readable))

    with pytest.raises(FormatError, match=rf"{name}: cannot be read.*Input/output error"):
        open_run(path)
