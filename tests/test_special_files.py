"""What is no file is never opened: FIFOs, sockets, devices, files of the system without an end.

Nobody writes into the FIFOs here: whoever opens one for reading as usual waits for ever.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from checkpoints import write_onnx, write_small_run
from hostile_files import NET, TARGETS

import accweight_core as aw
from accweight_core.cli.app import run as cli
from accweight_core.errors import FormatError
from accweight_core.io.reading import OpenFiles
from accweight_core.readers import Reader, reader_named, readers
from accweight_core.remote import open_file, path_at
from accweight_core.remote.local import SpecialFileError
from accweight_core.schema import HiddenValues

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system that has FIFOs"),
    pytest.mark.timeout(60),
]


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def bound(path: Path) -> Path:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has room for a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(path.name)
    finally:
        os.chdir(here)
    return path


def device(path: Path) -> Path:
    path.symlink_to("/dev/zero")
    return path


MADE: dict[str, Callable[[Path], Path]] = {"a FIFO": fifo, "a socket": bound, "a device": device}
KINDS = pytest.mark.parametrize("kind", MADE)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Return the one line with which the command refuses."""
    capsys.readouterr()
    assert cli([str(argument) for argument in arguments]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "unexpected" not in text
    return text


def read_all(reader: Reader, path: Path) -> None:
    """Describe a checkpoint and read a value of every tensor."""
    for tensor in reader.describe(path).tensors:
        if isinstance(tensor.values, HiddenValues):
            tensor.values.load()
        elif tensor.values.elements:
            with OpenFiles() as files:
                files.read(tensor.values.path, tensor.values.offset, memoryview(bytearray(1)))


@KINDS
@pytest.mark.parametrize("reader", [None, *sorted(readers())])
def test_a_source_that_is_no_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, reader: str | None
) -> None:
    path = MADE[kind](tmp_path / "epoch_1.pt")

    text = refused(capsys, "inspect", path, *(["--reader", reader] if reader else []))

    assert f"{path}: it is {kind}, not a file" in text


@KINDS
@pytest.mark.parametrize("option", ["--map", "--model"])
def test_a_map_or_a_model_that_is_no_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, option: str
) -> None:
    run = write_small_run(tmp_path / "run", ["epoch_1.pt", "epoch_2.pt"])
    path = MADE[kind](tmp_path / "other")

    text = refused(capsys, "inspect", run, option, path)

    assert str(path) in text
    assert f"it is {kind}, not a file" in text


@KINDS
@pytest.mark.parametrize("which", ["model", "data"])
def test_what_is_trained_on_has_to_be_files(tmp_path: Path, kind: str, which: str) -> None:
    pytest.importorskip("onnxruntime.training", exc_type=ImportError)
    from accweight_adapters.training.model import load_model
    from accweight_core.samples.arrays import load_data

    path = MADE[kind](tmp_path / "other")

    with pytest.raises(aw.AccweightError, match=f"it is {kind}, not a file"):
        load_model(path) if which == "model" else load_data(path, ())


@KINDS
def test_in_a_folder_it_is_left_out_with_a_note(tmp_path: Path, kind: str) -> None:
    run = write_small_run(tmp_path / "run", ["epoch_1.pt", "epoch_2.pt"])
    MADE[kind](run / "epoch_3.pt")
    MADE[kind](run / "checkpoint_7")
    MADE[kind](run / "trainer_state.json")

    opened = aw.open_run(run)

    assert list(opened.steps) == [1, 2]
    assert f"epoch_3.pt left out: it is {kind}, not a file" in opened.notes


@KINDS
@pytest.mark.parametrize("name", TARGETS)
def test_no_part_of_a_checkpoint_of_any_format_is_opened_unless_it_is_a_file(
    tmp_path: Path, name: str, kind: str
) -> None:
    reader, target = TARGETS[name]
    whole, part = target(tmp_path)
    part.unlink()
    MADE[kind](part)

    reader_named(reader).recognises(path_at(whole))

    with suppress(FormatError):  # not every part of a checkpoint has values
        read_all(reader_named(reader), path_at(whole))


def test_a_fifo_that_takes_the_place_of_a_file_meanwhile_is_refused(tmp_path: Path) -> None:
    run = aw.open_run(write_small_run(tmp_path / "run", ["epoch_1.pt", "epoch_2.pt"]))
    (tmp_path / "run" / "epoch_2.pt").unlink()
    fifo(tmp_path / "run" / "epoch_2.pt")

    with pytest.raises(FormatError, match=r"epoch_2\.pt: (cannot be read|changed)"):
        aw.analyze(run)


@KINDS
def test_paths_open_files_alone(tmp_path: Path, kind: str) -> None:
    path = MADE[kind](tmp_path / "it")
    for opening in (
        lambda: path_at(path).open("rb"),
        lambda: path_at(tmp_path).joinpath("it").open(),
        lambda: (path_at(tmp_path / "other").with_name("it")).read_bytes(),
        lambda: open_file(str(path)),
    ):
        with pytest.raises(SpecialFileError, match=f"it is {kind}, not a file"):
            opening()


def test_paths_open_files_as_ever(tmp_path: Path) -> None:
    path = path_at(tmp_path / "it")

    path.write_bytes(b"one\ntwo")

    assert path == tmp_path / "it"
    assert path.read_bytes() == b"one\ntwo"
    assert path.read_text(encoding="utf-8") == "one\ntwo"
    with path.open("rb", buffering=0) as raw, path.open() as text:
        assert raw.fileno() >= 0
        assert text.readline() == "one\n"
    with pytest.raises(IsADirectoryError):
        path.parent.open("rb")
    with pytest.raises(FileNotFoundError):
        path.with_name("other").open("rb")
    path.write_bytes(b"")
    assert path.read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the files of the system of Linux")
def test_a_file_that_says_it_is_empty_and_is_not_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = refused(capsys, "inspect", "/proc/self/maps")

    assert "it says that it has no bytes and gives some" in text


def test_external_data_of_a_model_has_to_be_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_onnx(tmp_path / "net.onnx", NET)
    (data,) = (file for file in tmp_path.iterdir() if file != model)
    data.unlink()
    fifo(data)

    assert data.name in refused(capsys, "inspect", model)
