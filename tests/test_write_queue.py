"""Files that are written in a thread of their own: in order, bounded, and no fault is lost."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import accweight_core as aw
from accweight_core.errors import AccweightError
from accweight_core.pictures import packing, plan
from accweight_core.schema import Run
from accweight_core.store import files, part, picture_writer
from accweight_core.store.write_queue import MOST_WAITING_BYTES, WriteQueue


@pytest.fixture
def queue() -> Iterator[WriteQueue]:
    made = WriteQueue()
    yield made
    made.close()


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writes_are_done_in_the_order_in_which_they_are_given(queue: WriteQueue) -> None:
    done: list[int] = []

    for number in range(100):
        queue.put(number, partial(done.append, number))
    queue.wait()

    assert done == list(range(100))


def test_who_gives_a_write_does_it_if_too_much_is_waiting(queue: WriteQueue) -> None:
    may_write, half = threading.Event(), MOST_WAITING_BYTES // 2
    threads: list[int] = []

    def write() -> None:
        threads.append(threading.get_ident())

    queue.put(half, may_write.wait)
    queue.put(half, write)
    queue.put(1, write)
    done_here = list(threads)
    may_write.set()
    queue.wait()
    queue.put(half, write)
    queue.wait()

    assert done_here == [threading.get_ident()]
    assert threading.get_ident() not in threads[1:]
    assert len(threads) == 3


def test_what_is_to_be_done_then_waits_for_all_writes_before(queue: WriteQueue) -> None:
    may_write, done = threading.Event(), list[str]()

    def write() -> None:
        may_write.wait()
        done.append("written")

    queue.put(MOST_WAITING_BYTES, write)
    queue.then(partial(done.append, "then"))
    before = list(done)
    may_write.set()
    queue.wait()

    assert before == []
    assert done == ["written", "then"]


def test_a_failed_write_is_raised_later_and_none_behind_it_is_done(queue: WriteQueue) -> None:
    may_write, done = threading.Event(), list[str]()

    queue.put(0, may_write.wait)
    queue.put(0, full)
    queue.put(0, partial(done.append, "behind"))
    may_write.set()

    with pytest.raises(OSError, match="No space"):
        queue.wait()
    with pytest.raises(OSError, match="No space"):
        queue.put(0, partial(done.append, "later"))
    with pytest.raises(OSError, match="No space"):
        queue.then(partial(done.append, "then"))
    assert not done


def test_what_waits_is_written_when_the_queue_is_closed() -> None:
    queue, done = WriteQueue(), list[int]()

    for number in range(10):
        queue.put(1, partial(done.append, number))
    queue.close()

    assert done == list(range(10))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Three checkpoints of four matrices, to be analysed with a processor left to write."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for step in range(3):
        chance = np.random.default_rng(step)
        weights = {
            f"{n}.weight": chance.standard_normal((40, 30)).astype(np.float32) for n in range(4)
        }
        save_file(weights, tmp_path / f"step_{step}.safetensors")
    return aw.open_run(sorted(tmp_path.glob("*.safetensors")))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of pictures and totals."""
    found = sorted(path for path in folder.rglob("c.*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_parameter_whose_picture_could_not_be_written_is_not_finished(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, number: int
) -> None:
    monkeypatch.setattr(packing, "PACK_TEXELS", 0)  # a picture of each
    out = tmp_path / "run.accw"
    whole = aw.analyze(run, tmp_path / "whole.accw", threads=1)
    write = files.write_new

    def failing(path: Path, content: bytes | memoryview) -> None:
        if path.parent.parent.name == "packed" and path.parent.name == f"{number:06d}":
            full()
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_new", failing)
        with pytest.raises(AccweightError, match="No space"):
            aw.analyze(run, out, threads=threads)
    finished = aw.open_analysis(out, unfinished=True).finished()
    again = aw.analyze(run, out, threads=threads)

    assert not any(finished[number:])
    np.testing.assert_array_equal(again.values, whole.values)
    assert contents(out) == contents(tmp_path / "whole.accw")


def test_chunks_that_wait_are_not_drawn_on_any_more(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MEMBER_BYTES", 0)
    monkeypatch.setattr(plan, "WHOLE_BYTES", 0)  # in chunks
    monkeypatch.setattr(plan, "SEGMENT_BYTES", 4 * 40 * 30)  # of one step each
    with monkeypatch.context() as patch:
        patch.setattr(part.Part, "writing_meanwhile", lambda self: nullcontext())
        aw.analyze(run, tmp_path / "at once.accw", threads=1)
    write = picture_writer._Apart._write

    def late(*given: Any) -> None:
        threading.Event().wait(0.02)
        write(*given)

    monkeypatch.setattr(picture_writer._Apart, "_write", late)
    aw.analyze(run, tmp_path / "run.accw", threads=1)

    found = contents(tmp_path / "run.accw")
    assert found == contents(tmp_path / "at once.accw")
    assert sum(name.startswith("pictures") for name in found) == 4 * 3


def test_the_end_of_an_analysis_waits_for_its_last_picture(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.accw"
    write, finish = part.Part._write_pack, part.Part.finish
    is_there: list[bool] = []

    def late(self: part.Part, *given: Any) -> None:
        threading.Event().wait(0.1)
        write(self, *given)

    def seen(self: part.Part, *given: Any) -> None:
        is_there.append(bool(contents(out / "pictures")))
        finish(self, *given)

    monkeypatch.setattr(part.Part, "_write_pack", late)
    monkeypatch.setattr(part.Part, "finish", seen)
    aw.analyze(run, out, threads=2)

    assert is_there == [True]


@pytest.mark.parametrize(("processors", "is_apart"), [(2, True), (1, False)])
def test_a_thread_writes_only_where_a_processor_is_left_for_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int, is_apart: bool
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    write = part.Part._write_pack
    names: set[str] = set()

    def seen(self: part.Part, *given: Any) -> None:
        names.add(threading.current_thread().name)
        write(self, *given)

    monkeypatch.setattr(part.Part, "_write_pack", seen)
    aw.analyze(run, tmp_path / "run.accw", threads=1)

    assert [name.startswith("write") for name in names] == [is_apart]
