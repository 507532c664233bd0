"""Appending: going on without the old checkpoints gives what analysing all of them gives."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import accweight
from torch import Tensor

import accweight_core as aw
from accweight_core.accumulate import block
from accweight_core.accumulate.cutting import Block
from accweight_core.errors import MismatchError, StoreError
from accweight_core.pictures import plan as pictures
from accweight_core.store import state
from accweight_core.store.lock import locked

Weights = dict[str, Tensor]


APART = ("wide.weight", "complex.weight", "fc.weight")
"""Large, of pairs of numbers, and with a reference that is not finite from the first step on."""


def checkpoints(folder: Path, count: int = 7) -> list[str]:
    chance = torch.Generator().manual_seed(0)
    shapes = {
        "conv1.weight": (8, 3, 5, 5),
        "conv1.bias": (8,),
        "fc.weight": (300, 170),
        "wide.weight": (5, 20_000),
        "half.weight": (64, 33),
        "complex.weight": (20, 20),
        "empty.weight": (0, 4),
    }
    weights = {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}
    paths = []
    folder.mkdir(exist_ok=True)
    for step in range(count):
        for tensor in weights.values():
            tensor += 0.1 * torch.randn(tensor.shape, generator=chance)
        saved: Weights = {name: tensor.clone() for name, tensor in weights.items()}
        saved["half.weight"] = saved["half.weight"].to(torch.bfloat16)
        saved["complex.weight"] = torch.complex(saved["complex.weight"], torch.ones(20, 20))
        if step < 5:
            saved["fc.weight"][3, 4] = torch.nan  # not finite until after the append
        if step == 3:
            saved["fc.weight"][0, 0] = torch.inf
        paths.append(str(folder / f"epoch_{step}.pt"))
        torch.save({"epoch": step, "state_dict": saved}, paths[-1])
    return paths


@pytest.mark.parametrize("split", [2, 4, 6])
def test_appending_gives_the_numbers_and_pictures_of_analysing_all(
    tmp_path: Path, split: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SEGMENT_BYTES", 3 * 300 * 170 * 4)  # several chunks of steps
    paths = checkpoints(tmp_path)
    whole = aw.analyze(aw.open_run(paths), tmp_path / "whole.accw", keep_state=True)
    aw.analyze(aw.open_run(paths[:split]), tmp_path / "grown.accw", keep_state=True)

    grown = aw.append(aw.open_run(paths), tmp_path / "grown.accw", threads=3)

    np.testing.assert_array_equal(grown.values, whole.values)
    assert replace(grown.header, source=whole.header.source) == whole.header
    assert whole.store
    assert grown.store
    for index, parameter in enumerate(whole.parameters):
        plan = whole.header.plan(index)
        for level in plan.levels if parameter.elements else ():
            for plane in ("mean", "max") if level else ("mean",):
                np.testing.assert_array_equal(
                    grown.store.picture(index, level, plane, slice(None)),
                    whole.store.picture(index, level, plane, slice(None)),
                )
        block = Block(0, parameter.elements)
        if parameter.elements:
            for ours, theirs in zip(
                grown.store.read_state(index, block),
                whole.store.read_state(index, block),
                strict=True,
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_appending_twice_needs_no_old_checkpoint(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path)
    whole = aw.analyze(aw.open_run(paths))
    aw.analyze(aw.open_run(paths[:3]), tmp_path / "grown.accw", keep_state=True)
    for path in paths[:3]:
        Path(path).unlink()

    aw.append(aw.open_run(paths[3:5]), tmp_path / "grown.accw")
    grown = aw.append(aw.open_run(paths[5:]), tmp_path / "grown.accw")

    np.testing.assert_array_equal(grown.values, whole.values)


def test_a_state_that_was_packed_otherwise_is_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = checkpoints(tmp_path), tmp_path / "grown.accw"
    whole = aw.analyze(paths)
    with monkeypatch.context() as earlier:
        earlier.setattr(state, "MOST_PACKED", 0)  # as all parameters were stored before
        aw.analyze(paths[:3], out, keep_state=True)
        aw.append(paths[3], out)
    aw.append(paths[4], out)

    grown = aw.append(paths[5:], out)

    np.testing.assert_array_equal(grown.values, whole.values)
    assert {found.name for found in (out / "states" / "000007").iterdir()} == {
        "packed",
        *(f"{index:06d}" for index, one in enumerate(whole.parameters) if one.name in APART),
    }


def test_appending_makes_pictures_coarser_where_the_budget_asks(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path)
    aw.analyze(aw.open_run(paths[:3]), tmp_path / "grown.accw", keep_state=True)

    grown = aw.append(aw.open_run(paths), tmp_path / "grown.accw", picture_budget_bytes=500_000)

    whole = aw.analyze(aw.open_run(paths), tmp_path / "whole.accw", picture_budget_bytes=500_000)
    assert grown.header.picture_bases == whole.header.picture_bases
    assert grown.store
    assert whole.store
    index = grown.parameter_index("fc.weight")
    base = grown.header.picture_bases[index]
    assert base > 0
    for plane in ("mean", "max"):
        np.testing.assert_allclose(
            grown.store.picture(index, base, plane, slice(None)),
            whole.store.picture(index, base, plane, slice(None)),
            rtol=1e-5,
        )


@pytest.mark.parametrize(("first", "then"), [(None, 5000), (5000, 1)])
def test_pictures_become_coarser_than_any_level_that_was_stored(
    tmp_path: Path, first: int | None, then: int
) -> None:
    paths, size = checkpoints(tmp_path), 8000  # several tiles of a parameter
    out = tmp_path / "grown.accw"
    begun = aw.analyze(paths[:3], out, keep_state=True, picture_budget_bytes=first)
    coarsest = [begun.header.plan(index).levels[-1] for index in range(len(begun.parameters))]

    grown = aw.append(paths, out, picture_budget_bytes=then, block_elements=size)

    whole = aw.analyze(paths, tmp_path / "whole.accw", picture_budget_bytes=then)
    assert grown.header.picture_bases == whole.header.picture_bases
    bases = grown.header.picture_bases
    assert sum(base > level for base, level in zip(bases, coarsest, strict=True)) > 3
    assert grown.store
    assert whole.store
    for index, parameter in enumerate(grown.parameters):
        for plane in ("mean", "max") if parameter.elements and bases[index] else ():
            np.testing.assert_allclose(
                grown.store.picture(index, bases[index], plane, slice(None)),
                whole.store.picture(index, bases[index], plane, slice(None)),
                rtol=1e-5,
            )


def test_appending_with_a_budget_of_nothing_leaves_no_pictures(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 4)
    aw.analyze(paths[:3], tmp_path / "grown.accw", keep_state=True)

    grown = aw.append(paths, tmp_path / "grown.accw", picture_budget_bytes=0)

    assert grown.header.picture_bases == ()
    assert not (tmp_path / "grown.accw" / "pictures").exists()
    np.testing.assert_array_equal(grown.values, aw.analyze(paths).values)


def test_an_analysis_without_state_cannot_be_appended_to(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 4)
    aw.analyze(aw.open_run(paths[:3]), tmp_path / "run.accw")

    with pytest.raises(StoreError, match="made without --keep-state"):
        aw.append(aw.open_run(paths), tmp_path / "run.accw")


NOTHING_NEW = "nothing is new: no checkpoint comes after step 2, the last one analysed"


GOING_ON = {"append": aw.append, "watch": partial(aw.watch, once=True)}


def files_in(store: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file of an analysis."""
    found = ((path, path.stat()) for path in store.rglob("*"))
    return {str(path): (status.st_ino, status.st_mtime_ns) for path, status in found}


def test_nothing_new_is_said_and_changes_nothing(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 3)
    before = aw.analyze(aw.open_run(paths), tmp_path / "run.accw", keep_state=True)
    files, said = files_in(tmp_path / "run.accw"), []

    again = aw.append(aw.open_run(paths), tmp_path / "run.accw", notice=said.append)

    assert said == [NOTHING_NEW]
    assert again.header == before.header
    assert again.values.tobytes() == before.values.tobytes()
    assert files_in(tmp_path / "run.accw") == files


def test_a_command_with_nothing_new_says_so_in_one_line_and_succeeds(tmp_path: Path) -> None:
    checkpoints(tmp_path / "job", 3)
    command = ("analyze", tmp_path / "job", "-o", tmp_path / "run.accw", "--keep-state", "--json")
    first = accweight(*command)

    again = accweight(*command, "--append")

    assert (first.code, again.code) == (0, 0)
    assert again.out == first.out
    assert again.err == f"note: {NOTHING_NEW}\n{first.err}"


def test_nothing_new_of_checkpoints_that_were_moved_or_of_which_a_copy_is_left(
    tmp_path: Path,
) -> None:
    paths = [Path(path) for path in checkpoints(tmp_path / "job", 3)]
    aw.analyze(aw.open_run(tmp_path / "job"), tmp_path / "run.accw", keep_state=True)
    shutil.copy(paths[2], tmp_path / "job" / "last.pt")
    for path in paths:
        path.unlink()
    said: list[str] = []

    aw.append(tmp_path / "job" / "last.pt", tmp_path / "run.accw", notice=said.append)
    shutil.move(tmp_path / "job", tmp_path / "moved")
    checkpoints(tmp_path / "job", 3)
    aw.analyze(tmp_path / "job", tmp_path / "other.accw", keep_state=True)
    shutil.move(tmp_path / "job", tmp_path / "elsewhere")
    aw.append(tmp_path / "elsewhere", tmp_path / "other.accw", notice=said.append)

    assert said == [NOTHING_NEW] * 2


def test_nothing_new_after_a_file_was_touched(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 3)
    aw.analyze(paths, tmp_path / "run.accw", keep_state=True)
    later = time.time() + 60
    os.utime(paths[1], (later, later))
    said: list[str] = []

    aw.append(paths, tmp_path / "run.accw", notice=said.append)

    assert said == [NOTHING_NEW]


@pytest.mark.parametrize("command", GOING_ON)
def test_another_run_without_later_steps_is_an_error(tmp_path: Path, command: str) -> None:
    for name in ("ours", "theirs"):
        checkpoints(tmp_path / name, 3)
        when = {"ours": 1_000_000_000, "theirs": 1_500_000_000}[name]
        for path in (tmp_path / name).iterdir():
            os.utime(path, (when, when))
    aw.analyze(tmp_path / "ours", tmp_path / "run.accw", keep_state=True)
    files = files_in(tmp_path / "run.accw")

    with pytest.raises(MismatchError, match=r"theirs: no checkpoint .* none is of the run in"):
        GOING_ON[command](tmp_path / "theirs", tmp_path / "run.accw")

    assert files_in(tmp_path / "run.accw") == files


def test_other_parameters_without_later_steps_are_an_error(tmp_path: Path) -> None:
    checkpoints(tmp_path / "job", 3)
    aw.analyze(tmp_path / "job", tmp_path / "run.accw", keep_state=True)
    for path in (tmp_path / "job").iterdir():
        weights = {"conv1.weight": torch.ones(8, 3, 5, 5), "head.weight": torch.ones(7, 300)}
        torch.save({"epoch": int(path.stem[-1]), "state_dict": weights}, path)

    with pytest.raises(MismatchError, match=r"'conv1\.bias' has shape missing but"):
        aw.append(tmp_path / "job", tmp_path / "run.accw")


def test_an_append_that_was_stopped_between_two_renames_is_mended(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 3)
    before = aw.analyze(aw.open_run(paths), tmp_path / "run.accw", keep_state=True)
    (tmp_path / "run.accw").rename(tmp_path / ".run.accw.replaced")

    found = aw.open_analysis(tmp_path / "run.accw")

    assert found.header == before.header


def test_who_opens_between_the_two_renames_of_an_append_is_told_to_wait(tmp_path: Path) -> None:
    paths = checkpoints(tmp_path, 3)
    aw.analyze(aw.open_run(paths), tmp_path / "run.accw", keep_state=True)
    (tmp_path / "run.accw").rename(tmp_path / ".run.accw.replaced")

    with (
        locked(tmp_path / "run.accw"),
        pytest.raises(StoreError, match="another accweight is writing this analysis"),
    ):
        aw.open_analysis(tmp_path / "run.accw")

    assert (tmp_path / ".run.accw.replaced").exists()


def test_state_is_kept_whatever_block_ends_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = block.read_stretches

    def slow_at_first(files: Any, tensor: Any, stretches: Any, out: Any) -> None:
        if stretches[0][0] == 0:
            time.sleep(0.1)
        read(files, tensor, stretches, out)

    monkeypatch.setattr(block, "read_stretches", slow_at_first)
    weights = [torch.randn(400, 300, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    for step, tensor in enumerate(weights):
        torch.save({"epoch": step, "state_dict": {"fc.weight": tensor}}, tmp_path / f"{step}.pt")

    run = aw.open_run(tmp_path)
    analysis = aw.analyze(
        run, tmp_path / "run.accw", keep_state=True, threads=4, block_elements=16384
    )

    assert analysis.store
    reference, previous, _ = analysis.store.read_state(0, Block(0, 400 * 300))
    np.testing.assert_array_equal(reference.reshape(400, 300), weights[0])
    np.testing.assert_array_equal(previous.reshape(400, 300), weights[1])
