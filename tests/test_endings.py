"""What files are by their endings, where nothing can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import accweight_core as aw
from accweight_core.endings import KINDS, described_endings, what_ending_says
from accweight_core.errors import FormatError, SourceError
from accweight_core.readers import readers


def test_endings_are_counted_and_those_with_a_way_come_first() -> None:
    names = ["a.pb", "b.pb", "c.PB", "x.tflite", "y.tflite", "m.mlmodel", "old.rds", "README"]

    said = described_endings(names)

    parts = said.split("; ")
    assert parts[0].startswith("3 .pb (graphs of TensorFlow")
    assert said.index("2 .tflite (") < said.index("1 .mlmodel (") < said.index("1 .rds (")
    assert said.endswith("1 file without an ending")


def test_a_folder_of_everything_stays_one_short_line() -> None:
    said = described_endings([f"{n}{ending}" for n in range(3) for ending in KINDS])

    assert "\n" not in said
    assert len(said) < 1200
    assert said.endswith("other files")
    assert described_endings([]) == ""


def test_names_tell_more_than_endings() -> None:
    assert "TensorBoard" in described_endings(["events.out.tfevents.1700.host.1.v2"])
    assert "index is missing" in described_endings(["model-00001-of-00003.safetensors"])
    assert "unpack" in described_endings(["run.tar.gz"])


def test_an_ending_that_a_reader_reads_is_not_called_unreadable() -> None:
    read = {suffix for reader in readers().values() for suffix in reader.suffixes}

    assert KINDS.keys() & read <= {".bin", ".json", ".zip", ".tar", ".t7"}, (
        "these may be something else"
    )


def test_a_folder_without_checkpoints_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    for name in ("a.pb", "b.pb", "export/net.tflite", ".hidden.pb"):
        (tmp_path / name).write_bytes(b"x" * 20)

    with pytest.raises(SourceError) as caught:
        aw.open_run(tmp_path)

    text = str(caught.value)
    assert "no checkpoints found" in text
    assert "found: 2 .pb (graphs of TensorFlow" in text
    assert "1 .tflite (TensorFlow Lite models)" in text


@pytest.mark.parametrize("name", ["conv1.bin", "fc.dat", "w.f32", "layer.raw"])
def test_a_flat_file_is_refused_with_a_way(tmp_path: Path, name: str) -> None:
    np.arange(1.0, 65.0, dtype=np.float32).tofile(tmp_path / name)

    with pytest.raises(FormatError) as caught:
        aw.open_run(tmp_path / name)

    assert "flat files without names and shapes" in str(caught.value)
    assert "numpy.fromfile(FILE, 'float32').reshape(SHAPE)" in str(caught.value)
    assert "numpy.savez" in what_ending_says(name)
