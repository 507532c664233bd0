"""What leaves the program: tables that spreadsheets open, streams that are full, odd names.

And numbers of so many digits that Python does not read them, wherever somebody may write one.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import write_small_run, write_torch
from hypothesis import given
from hypothesis import strategies as st

import accweight_core as aw
from accweight_core.analysis.export import escaped, export, unescaped
from accweight_core.cli.app import run as cli

DIGITS = "9" * 5000

FORMULAS = (
    "=cmd|' /C calc'!A0", "@SUM(1+1)", "+1+1", "-1+1", "\t=1", "\r=1", "\n=1", "'=1", "''",
    "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201", "=HYPERLINK(\"http://a\",\"b\")", "-1", "plain",
    "a=b", "a,\"b\"",
)  # fmt: skip


def test_names_that_spreadsheets_obey_are_marked_and_read_back() -> None:
    weights = {f"{name}.weight": np.zeros((2, 2)) for name in FORMULAS}
    analysis = aw.analyze(aw.open_run([weights, {n: w - 1 for n, w in weights.items()}]))
    written = io.BytesIO()

    export(analysis, written, "csv")

    rows = list(csv.DictReader(io.StringIO(written.getvalue().decode(), newline="")))
    assert not any(
        row["layer"].startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")) for row in rows
    )
    assert {unescaped(row["layer"]) for row in rows} == {row.name for row in analysis.measured()}
    assert "plain" in {row["layer"] for row in rows}


def test_negative_numbers_stay_numbers() -> None:
    analysis = aw.analyze({-5: {"a.weight": np.zeros((2, 2))}, -4: {"a.weight": np.ones((2, 2))}})
    written = io.BytesIO()

    export(analysis, written, "csv")

    rows = list(csv.DictReader(io.StringIO(written.getvalue().decode())))
    assert [row["step"] for row in rows] == ["-5", "-4"]


@given(st.text())
def test_every_text_is_read_back(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert escaped(text)[:1] not in {*"=+-@\t\r\n"}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store an analysis as `a.accw` in the folder where we are, beside its run."""
    monkeypatch.chdir(tmp_path)
    write_small_run(tmp_path / "run", ["epoch_1.pt", "epoch_2.pt"])
    aw.analyze(aw.open_run("run"), "a.accw")
    (tmp_path / "file").touch()
    return tmp_path


NO_NAMES = ["", ".", "..", "/", "a/..", "file/below", "x" * 300, DIGITS]
WRITING = {
    "analyze": ["analyze", "run", "-o"],
    "export": ["export", "a.accw", "--to", "csv", "--overwrite", "-o"],
    "map of a run": ["inspect", "run", "--write-map"],
    "map of two": ["align", "a.accw", "a.accw", "-o"],
}


@pytest.mark.parametrize("name", NO_NAMES, ids=[name[:12] or "nothing" for name in NO_NAMES])
@pytest.mark.parametrize("what", WRITING)
def test_a_name_that_nothing_can_have_is_refused_in_a_line(
    stored: Path, what: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(stored.rglob("*"))

    assert cli([*WRITING[what], name]) == 1

    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "unexpected" not in text
    assert sorted(stored.rglob("*")) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("command", ["rank a.accw", "rank a.accw --json", "inspect run",
                                     "export a.accw --to csv -o -", "metrics",
                                     "export a.accw --to npz -o -", "compare a.accw a.accw",
                                     "align a.accw a.accw", "analyze run -o b.accw"])  # fmt: skip
def test_an_output_that_is_full_is_said_in_a_line(stored: Path, command: str) -> None:
    called = [sys.executable, "-m", "accweight_core", *command.split()]

    with open("/dev/full", "wb") as full:
        ended = subprocess.run(called, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        unheard = subprocess.run(called, stdout=full, stderr=full, timeout=60)

    assert ended.returncode == unheard.returncode == 1
    assert ended.stderr == "accweight: the output cannot be written (No space left on device)\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", ["| true", "| head -1 >/dev/null", ">&-", ">/dev/null 2>&-"])
def test_an_output_that_nobody_reads_ends_quietly(stored: Path, closed: str) -> None:
    called = f"{shlex.quote(sys.executable)} -m accweight_core export a.accw --to csv -o - {closed}"

    ended = subprocess.run(called, shell=True, stderr=subprocess.PIPE, text=True, timeout=60)

    said = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
    assert said == []


def test_a_device_is_not_replaced_by_an_export(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stored / "out.csv").symlink_to("/dev/null")

    assert cli(["export", "a.accw", "--to", "csv", "--overwrite", "-o", "out.csv"]) == 1

    assert "is a device" in capsys.readouterr().err


OPTIONS = [
    ("analyze run -o b.accw --picture-budget", 2), ("analyze run -o b.accw --threads", 2),
    ("rank a.accw --at", 2), ("rank a.accw --top", 2), ("inspect run --group", 1),
    ("inspect run --map", 1), ("inspect run --model", 1), ("inspect run --reader", 1),
    ("rank a.accw --by", 1), ("inspect", 1), ("rank", 1), ("compare a.accw", 1),
]  # fmt: skip


@pytest.mark.parametrize(("command", "code"), OPTIONS)
def test_options_of_thousands_of_digits_are_refused(
    stored: Path, command: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli([*command.split(), DIGITS]) == code

    text = capsys.readouterr().err
    assert "unexpected" not in text
    assert code == 2 or text.count("\n") == 1


def _safetensors(field: str) -> bytes:
    head = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    values = {"shape": f"[{DIGITS}]", "data_offsets": f"[0, {DIGITS}]", "more": DIGITS}
    text = json.dumps({"a.weight": {**head, field: "HERE"}}).replace('"HERE"', values[field])
    return struct.pack("<Q", len(text)) + text.encode() + bytes(8)


def _npy(shape: str) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(head)) + head + bytes(8)


FILES = {
    "a shape of safetensors": ("a.safetensors", _safetensors("shape")),
    "offsets of safetensors": ("a.safetensors", _safetensors("data_offsets")),
    "a field of safetensors": ("a.safetensors", _safetensors("more")),
    "a shape of npy": ("a.npy", _npy(DIGITS)),
    "a header of npy": ("a.npy", _npy(f"2), 'more': ({DIGITS}")),
    "an index": ("model.safetensors.index.json", f'{{"weight_map": {DIGITS}}}'.encode()),
    "sizes of an index": (
        "pytorch_model.bin.index.json",
        f'{{"metadata": {{"total_size": {DIGITS}}}, "weight_map": {{"a": "a.bin"}}}}'.encode(),
    ),
    "an index of keras": ("a.weights.json", f'{{"weight_map": {DIGITS}}}'.encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_files_with_numbers_of_thousands_of_digits_are_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content = FILES[name]
    (tmp_path / file).write_bytes(content)

    assert cli(["inspect", str(tmp_path / file)]) in ((0, 1) if "field of" in name else (1,))

    text = capsys.readouterr().err
    assert "unexpected" not in text
    assert text.count("\n") <= 1


@pytest.mark.parametrize("text", ["a = ", "[layers]\na = ", "[parameters]\na = { axes = "])
def test_a_map_with_a_number_of_thousands_of_digits_is_refused(
    stored: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (stored / "map.toml").write_text(f"{text}{DIGITS}{' }' if '{' in text else ''}\n")

    assert cli(["inspect", "run", "--map", "map.toml"]) == 1

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "map.toml" in said
    assert "unexpected" not in said


def test_what_a_trainer_notes_in_thousands_of_digits_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2):
        home = tmp_path / f"checkpoint-{step}"
        home.mkdir()
        write_torch(home / "pytorch_model.bin", {"fc.weight": torch.full((2, 2), float(step))})
        (home / "trainer_state.json").write_text(f'{{"global_step": {DIGITS}}}')

    assert list(aw.open_run(tmp_path).steps) == [1, 2]
