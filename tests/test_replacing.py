"""Replace, then remove: whatever stops an overwrite or an append, the old analysis stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_edits
import torch

import accweight_core as aw
from accweight_core.errors import NonFiniteError, StoreError
from accweight_core.store import replacing
from accweight_core.store.analysis_store import Store
from accweight_core.store.beside import beside

Act = Callable[[list[str], Path], aw.Analysis]


def overwritten(paths: list[str], out: Path) -> aw.Analysis:
    return aw.analyze(
        aw.open_run(paths), out, roles=store_edits.ROLES, keep_state=True, overwrite=True, threads=1
    )


def appended(paths: list[str], out: Path) -> aw.Analysis:
    return aw.append(aw.open_run(paths), out, threads=1)


ACTS: dict[str, Act] = {"overwrite": overwritten, "append": appended}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return store_edits.checkpoints(tmp_path_factory.mktemp("checkpoints"), 5)


@pytest.fixture(scope="module")
def before(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("before") / "run.accw"
    store_edits.analysed(aw.open_run(paths[:3]), out)
    return out


@pytest.fixture
def out(before: Path, tmp_path: Path) -> Path:
    """An analysis of three checkpoints, alone in its folder."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copytree(before, folder / "run.accw")
    return folder / "run.accw"


def is_as_before(act: str, out: Path, tree: dict[str, bytes]) -> bool:
    """Tell whether what was there is there; `append` may have begun to put new files beside it.

    It rewrites the header, with the same steps, and thins out the state after the last of them.
    """
    now = tree_of(out)
    if act == "append":
        same = {n: content for n, content in tree.items() if not n.startswith(("state", "zarr"))}
        return same.items() <= now.items() and aw.open_analysis(out).steps.tolist() == [0, 1, 2]
    return now == tree


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
        for file in folder.rglob("*")
    }


@pytest.fixture
def after(paths: list[str], before: Path, tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """Return what an act leaves when nothing disturbs it."""

    def undisturbed(act: str) -> dict[str, bytes]:
        store = tmp_path / "undisturbed" / "run.accw"
        shutil.copytree(before, store)
        ACTS[act](paths, store)
        return tree_of(store)

    return undisturbed


class Stop(BaseException):
    """What stops a process, as far as it can tell."""


def stopping(patch: pytest.MonkeyPatch, at: int) -> None:
    """Stop in the finishing of the parameter, or pack, of that number."""
    finish, done = Store.finish_parameters, []

    def failing(self: Store, members: Any, totals: Any) -> None:
        if len(done) == at:
            raise Stop
        done.append(members)
        finish(self, members, totals)

    patch.setattr(Store, "finish_parameters", failing)


@pytest.mark.parametrize("act", ACTS)
def test_what_is_stopped_leaves_the_old_one_and_goes_on_when_it_is_repeated(
    paths: list[str], out: Path, after: Callable[[str], dict[str, bytes]], act: str
) -> None:
    old, expected = tree_of(out), after(act)
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(Stop):
            ACTS[act](paths, out)

    assert tree_of(out) == old
    begun = Store.begun_at(beside(out, "next")).finished()
    assert sum(begun) > 0
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 1)  # what is finished is not walked again: one more, and no other
        ACTS[act](paths, out)
    assert tree_of(out) == expected
    assert os.listdir(out.parent) == [out.name]


def test_an_overwrite_that_finds_nan_leaves_the_old_one(paths: list[str], out: Path) -> None:
    old = tree_of(out)
    bad = str(out.parent.parent / "epoch_9.pt")
    state = torch.load(paths[-1])["state_dict"]
    state["out.weight"][1, 2] = np.nan
    torch.save({"epoch": 9, "state_dict": state}, bad)

    with pytest.raises(NonFiniteError):
        aw.analyze(aw.open_run([*paths, bad]), out, overwrite=True, strict=True)

    assert tree_of(out) == old
    assert aw.open_analysis(out).steps.tolist() == [0, 1, 2]
    overwritten(paths, out)  # other work: what was begun is of no use
    assert aw.open_analysis(out).steps.tolist() == [0, 1, 2, 3, 4]
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("act", ACTS)
def test_a_full_disk_at_any_write_leaves_the_old_one(
    paths: list[str], out: Path, after: Callable[[str], dict[str, bytes]], act: str
) -> None:
    old, expected = tree_of(out), after(act)
    real = os.open
    writes = 0
    while True:
        left = writes

        def full(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            nonlocal left
            if flags & os.O_CREAT and str(out.parent) in str(path):
                left -= 1
                if left < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return real(path, flags, *rest, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", full)
            try:
                ACTS[act](paths, out)
                break
            except StoreError as error:
                message = str(error)
        assert "No space left" in message
        assert is_as_before(act, out, old), writes
        writes = writes * 3 // 2 + 1

    assert writes > 10
    assert tree_of(out) == expected
    assert os.listdir(out.parent) == [out.name]


DRIVER = """
import json, os, signal, sys
import accweight_core as aw
act, out, paths = sys.argv[1], sys.argv[2], sys.argv[3:]
calls, forgotten = 0, -1
def counted(function):
    def call(*arguments, **named):
        global calls, forgotten
        if any(out in str(a) or ".run.accw" in str(a) for a in arguments[:2]):
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            if function is unlink and "begun.json" in str(arguments[0]):
                forgotten = calls
            calls += 1
        return function(*arguments, **named)
    return call
from accweight_core.store import replacing
from accweight_core.jobs import pipeline
unlink = os.unlink
for name in ("rename", "replace", "mkdir", "rmdir", "unlink", "open"):
    setattr(os, name, counted(getattr(os, name)))
replacing._have_changed_places = counted(replacing._have_changed_places)
run = aw.open_run(paths)
roles = ["weight", "bias"]
for line in sys.stdin:
    at, child = int(line), os.fork()
    if not child:
        if act == "overwrite":
            aw.analyze(run, out, roles=roles, keep_state=True, overwrite=True, threads=1)
        else:
            aw.append(run, out, threads=1)
        print(calls, forgotten, end=" ", flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""For every number that it reads, a child acts and is killed at the call of that number."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
@pytest.mark.parametrize("act", ACTS)
def test_killed_at_any_of_its_last_calls_one_of_the_two_opens(
    paths: list[str], out: Path, after: Callable[[str], dict[str, bytes]], act: str
) -> None:
    expected = after(act)

    keep = out.with_name("keep")
    shutil.copytree(out, keep)
    command = [sys.executable, "-c", DRIVER, act, str(out), *paths]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        assert it.stdin
        assert it.stdout

        def run(at: int) -> list[int]:
            """Return what a child counted, and how it ended."""
            print(at, file=it.stdin, flush=True)
            return [int(number) for number in it.stdout.readline().split()]

        total, forgotten, status = run(1 << 30)
        assert status == 0
        assert 0 < forgotten < total > 30
        for at in (*range(0, total - 12, total // 4), forgotten, *range(total - 12, total)):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(keep, out)
            assert run(at) == [signal.SIGKILL]

            steps = aw.open_analysis(out).steps.tolist()
            assert steps in ([0, 1, 2], [0, 1, 2, 3, 4])
            if act == "overwrite" or len(steps) == 3:
                ACTS[act](paths, out)
            else:  # it has been appended: any later writer clears away what is left
                aw.analyze(aw.open_run(paths), out, roles=store_edits.ROLES, keep_state=True)
            assert tree_of(out) == expected, at
            assert sorted(os.listdir(out.parent)) == ["keep", out.name], at


def test_a_system_that_cannot_exchange_names_renames_twice(
    paths: list[str],
    out: Path,
    after: Callable[[str], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = after("overwrite")
    monkeypatch.setattr(replacing, "_have_changed_places", lambda one, other: False)

    overwritten(paths, out)

    assert tree_of(out) == expected
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("act", ACTS)
def test_a_reader_clears_nothing_away(paths: list[str], out: Path, act: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(Stop):
            ACTS[act](paths, out)
    left = tree_of(out.parent)

    store_edits.figures(out)
    store_edits.shown(out)

    assert tree_of(out.parent) == left


def test_what_was_begun_for_another_run_is_cleared_away_by_the_next_writer(
    paths: list[str], out: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 1)
        with pytest.raises(Stop):
            overwritten(paths, out)

    store_edits.analysed(aw.open_run(paths[:3]), out)  # finds its own analysis finished

    assert os.listdir(out.parent) == [out.name]


def test_two_complete_analyses_of_the_same_work_are_not_taken_for_each_other(
    paths: list[str], out: Path, before: Path
) -> None:
    following = beside(out, "next")
    shutil.copytree(before, following)  # of one who was killed right after they changed names
    (following / "mark").write_text("old")

    overwritten(paths[:3], out)

    assert not (out / "mark").exists()
    assert os.listdir(out.parent) == [out.name]


def test_a_damaged_analysis_can_be_replaced(
    paths: list[str], out: Path, after: Callable[[str], dict[str, bytes]]
) -> None:
    document = json.loads((out / "zarr.json").read_text())
    document["attributes"]["accweight"]["parameters"] = 7
    (out / "zarr.json").write_text(json.dumps(document))

    overwritten(paths, out)

    assert tree_of(out) == after("overwrite")
