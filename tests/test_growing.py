"""Steps that are added: as if all had been there at once, and whole at any moment."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_edits
from safetensors.numpy import save_file
from thorough import THOROUGH

import accweight_core as aw
from accweight_core.accumulate.cutting import Block
from accweight_core.analysis.reading import findings_of
from accweight_core.analysis.sources import Stored
from accweight_core.errors import StepOrderError, StoreError
from accweight_core.jobs.growing import GrowingAnalysis, MeasuredStep
from accweight_core.store import analysis_store, files, merging, records, zarr_chunks
from accweight_core.store.header import Header
from accweight_core.store.merging import due
from accweight_core.store.records import FORMAT_VERSION, CheckpointRecord, SegmentDocument
from accweight_core.store.segments import Span
from accweight_core.store.step_pictures import draw_step

COUNT = 9
Weights = dict[str, Any]


def weights(count: int = COUNT) -> dict[int, Weights]:
    """Return steps of matrices, small and empty parameters, of several types, some not finite."""
    chance = np.random.default_rng(5)
    shapes = {
        "conv.weight": (8, 3, 3, 3),
        "conv.bias": (8,),
        "fc.weight": (150, 170),
        "half.weight": (40, 33),
        "complex.weight": (20, 20),
        "lost.weight": (30, 20),
        "empty.weight": (0, 4),
    }
    now = {name: chance.standard_normal(shape) for name, shape in shapes.items()}
    steps = {}
    for step in range(count):
        now = {n: v + 0.1 * chance.standard_normal(v.shape) for n, v in now.items()}
        here: Weights = {name: value.astype(np.float32) for name, value in now.items()}
        here["half.weight"] = here["half.weight"].astype(np.float16)
        here["complex.weight"] = here["complex.weight"] + np.complex64(1j)
        if step < 4:
            here["lost.weight"][1, 2] = np.nan  # not finite before some steps were added
        if step in (3, 6):
            here["fc.weight"][0, 0] = np.inf
        if step == 5:  # another network
            here = {n: v[::-1].copy() if n == "fc.weight" else v for n, v in here.items()}
        steps[10 * step] = here
    return steps


STEPS = weights()


def some(first: int, end: int) -> dict[int, Weights]:
    return {step: STEPS[step] for step in list(STEPS)[first:end]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> aw.Analysis:
    """All steps in one go."""
    out = tmp_path_factory.mktemp("whole") / "whole.accw"
    return aw.analyze(STEPS, out, roles=["weight", "bias"], keep_state=True)


def begun(out: Path, count: int) -> None:
    aw.analyze(some(0, count), out, roles=["weight", "bias"], keep_state=True)


def assert_same(found: aw.Analysis, whole: aw.Analysis, count: int = COUNT) -> None:
    """Check all that is stored of some steps against those of all steps."""
    assert found.store
    assert whole.store
    np.testing.assert_array_equal(found.values, whole.values[:count])
    for name in whole.metrics:
        np.testing.assert_array_equal(found.store.metric(name), whole.store.metric(name)[:count])
    for index, parameter in enumerate(whole.parameters):
        for level in whole.header.plan(index).levels if parameter.elements else ():
            for plane in ("mean", "max") if level else ("mean",):
                ours = found.store.picture_array(index, level, plane)
                theirs = whole.store.picture_array(index, level, plane)
                np.testing.assert_array_equal(ours[:], theirs[:count])
                np.testing.assert_array_equal(ours[count - 1, 1:3], theirs[count - 1, 1:3])


@pytest.mark.parametrize(
    ("split", "fanout"),
    [
        ((2, 7), 2),
        ((8, 1), 16),
        ((2, 1, 1, 1, 1, 1, 1, 1), 2),
        ((2, 1, 1, 1, 1, 1, 1, 1), 16),
        ((3, 2, 4), 2),
        ((2, 1, 3, 1, 2), 2),
        ((4, 1, 1, 1, 2), 2),
    ],
)
def test_growth_in_any_split_is_all_in_one_go(
    tmp_path: Path,
    whole: aw.Analysis,
    split: tuple[int, ...],
    fanout: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merging, "FANOUT", fanout)
    out, done = tmp_path / "grown.accw", split[0]
    begun(out, done)

    for count in split[1:]:
        grown = aw.append(some(done, done + count), out)
        done += count

    for found in (grown, aw.open_analysis(out)):
        assert_same(found, whole)
        assert replace(found.header, source=whole.header.source) == whole.header
        assert findings_of(found)[0] == findings_of(whole)[0]
    assert grown.store
    assert whole.store
    for index, parameter in enumerate(whole.parameters):
        block = Block(0, parameter.elements)
        if parameter.elements:
            ours, theirs = (s.read_state(index, block) for s in (grown.store, whole.store))
            for mine, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(mine, other)
    assert os.listdir(tmp_path) == [out.name]


def test_steps_of_earlier_versions_are_read_and_followed_by_others(
    tmp_path: Path, whole: aw.Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "grown.accw"
    begun(out, 3)
    for count in (1, 2):
        aw.append(some(2 + count, 3 + count), out)
    store_edits.set_apart(out)

    assert_same(aw.open_analysis(out), whole, 5)
    aw.append(some(5, 6), out)
    monkeypatch.setattr(merging, "FANOUT", 2)
    aw.append(some(6, COUNT), out)

    assert_same(aw.open_analysis(out), whole)
    document = json.loads((out / "zarr.json").read_text())
    assert document["attributes"]["accweight"]["format"] == FORMAT_VERSION


def test_warnings_of_a_run_that_breaks_are_among_those_compared(whole: aw.Analysis) -> None:
    assert any("does not look like a continuation" in text for text in whole.header.warnings)
    assert any("not finite" in text for text in whole.header.warnings)


def test_a_step_writes_new_files_only(tmp_path: Path) -> None:
    out = tmp_path / "grown.accw"
    begun(out, 3)
    aw.append(some(3, 4), out)
    before = stamps(out)

    aw.append(some(4, 5), out)

    changed = {name for name, stamp in before.items() if stamps(out).get(name) != stamp}
    assert {Path(name).parts[0] for name in changed} == {"states"}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """The segments whose documents are read from now on."""
    found, document_of = list[Span](), analysis_store.document_of

    def noted(path: Path, span: Span) -> SegmentDocument:
        found.append(span)
        return document_of(path, span)

    monkeypatch.setattr(analysis_store, "document_of", noted)
    return found


def test_what_earlier_steps_say_is_read_once_to_append_a_file(
    tmp_path: Path, read: list[Span]
) -> None:
    files = [tmp_path / f"step_{step}.safetensors" for step in range(6)]
    for step, file in enumerate(files):
        save_file({"fc.weight": STEPS[10 * step]["fc.weight"]}, file)
    out = tmp_path / "grown.accw"
    aw.analyze(files[:2], out, keep_state=True)
    for file in files[2:5]:
        aw.append(file, out)
    read.clear()

    aw.append(files[5], out)

    assert read == [Span(place, place) for place in (2, 3, 4)]


def test_what_earlier_steps_say_is_neither_read_nor_checked_again_while_it_stays_open(
    tmp_path: Path,
    whole: aw.Analysis,
    numbers: aw.Analysis,
    read: list[Span],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked, check = list[int](), records._check_checkpoints
    header = replace(unmeasured(whole.header), keeps_state=False)

    def counted(found: Sequence[CheckpointRecord]) -> None:
        checked.append(len(found))
        check(found)

    with GrowingAnalysis.begin(
        tmp_path / "live.accw", header, measured(numbers, 0, header)
    ) as growing:
        monkeypatch.setattr(records, "_check_checkpoints", counted)
        for place in range(1, 3):
            growing.add_step(measured(numbers, place, header))

    assert not read
    assert set(checked) == {2}  # a new one after the one before it


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([1] * 15, 0),
        ([1] * 16, 16),
        ([16] + [1] * 15, 0),
        ([256] * 3 + [16] * 15 + [1] * 16, 16),
        ([100, 20] * 8, 16),
        ([300] + [5] * 16, 16),
    ],
)
def test_sixteen_segments_of_a_size_are_due(sizes: list[int], merged: int) -> None:
    ends = np.cumsum(sizes)
    spans = [Span(int(e) - n, int(e) - 1) for e, n in zip(ends, sizes, strict=True)]

    assert len(due(spans)) == merged


def test_a_thousand_steps_are_few_segments() -> None:
    spans: list[Span] = []
    most = copied = 0
    for step in range(1000):
        spans.append(Span(step, step))
        while merged := due(spans):
            copied += merged[-1].last - merged[0].first + 1
            spans[-len(merged) :] = [Span(merged[0].first, merged[-1].last)]
        most = max(most, len(spans))

    assert most <= 3 * 15 + 1
    assert copied <= 2 * 1000


def test_what_breaks_mean_is_said_once_however_steps_are_added(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    networks = [chance.normal(size=(32, 16)).astype(np.float32) for _ in range(3)]
    steps = {n: {"fc.weight": networks[n // 2] * (1 + n / 50)} for n in range(6)}
    whole = aw.analyze(steps, tmp_path / "whole.accw", keep_state=True)

    aw.analyze({n: steps[n] for n in range(3)}, tmp_path / "grown.accw", keep_state=True)
    for added in range(3, 6):
        aw.append({added: steps[added]}, tmp_path / "grown.accw")

    warnings = aw.open_analysis(tmp_path / "grown.accw").header.warnings
    assert warnings == whole.header.warnings
    assert [warning.endswith("as above") for warning in warnings] == [False, True]


# --- steps measured elsewhere -----------------------------------------------------------------


def measured(
    whole: aw.Analysis, place: int, header: Header, *, with_state: bool = False
) -> MeasuredStep:
    """Return a step as a tracker measures it, with the pictures that a header names."""
    names = [parameter.name for parameter in whole.parameters]

    def path(index: int) -> Any:
        return whole.cumulative(names[index], whole.header.steps[place]).reshape(-1)

    def carry(index: int) -> Any:
        flat = [STEPS[step][names[index]].reshape(-1) for step in (0, list(STEPS)[place])]
        wide = [value.astype(np.result_type(value, np.float32)) for value in flat]
        return wide[0], wide[1], path(index)

    record = whole.header.checkpoints[place]
    alone = replace(header, checkpoints=(record,)).with_packs()
    return MeasuredStep(
        record,
        whole.values[place],
        carry if with_state else None,
        draw_step(alone, lambda index, first, stop: path(index)[first:stop]),
    )


@pytest.fixture(scope="module")
def numbers() -> aw.Analysis:
    """All steps in memory, with exact values of each."""
    return aw.analyze(STEPS, roles=["weight", "bias"])


def unmeasured(header: Header) -> Header:
    return replace(header, checkpoints=(), warnings=(), maximum=None, complete=False, packs=())


def test_steps_measured_elsewhere_are_stored_as_those_of_files(
    tmp_path: Path, whole: aw.Analysis, numbers: aw.Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "FANOUT", 3)
    header = replace(unmeasured(whole.header), keeps_state=False)
    out = tmp_path / "live.accw"

    with GrowingAnalysis.begin(out, header, measured(numbers, 0, header)) as growing:
        for place in range(1, COUNT):
            growing.add_step(measured(numbers, place, header))
            assert_same(aw.open_analysis(out), whole, place + 1)

    assert replace(aw.open_analysis(out).header, keeps_state=True) == whole.header


def test_a_step_that_is_not_after_the_last_one_is_refused(
    tmp_path: Path, whole: aw.Analysis, numbers: aw.Analysis
) -> None:
    header = replace(unmeasured(whole.header), keeps_state=False, picture_bases=())

    with GrowingAnalysis.begin(
        tmp_path / "a.accw", header, measured(numbers, 1, header)
    ) as growing:
        with pytest.raises(StepOrderError, match="step 0 came after step 10"):
            growing.add_step(measured(numbers, 0, header))

        assert growing.analysis().steps.tolist() == [10]


@pytest.mark.parametrize("lacks", ["pictures", "carry"])
def test_a_step_without_what_is_stored_is_refused_and_changes_nothing(
    tmp_path: Path, numbers: aw.Analysis, lacks: str
) -> None:
    out = tmp_path / "run.accw"
    begun(out, 3)
    step = replace(
        measured(numbers, 3, aw.open_analysis(out).header, with_state=True), **{lacks: None}
    )

    with GrowingAnalysis.open(out) as growing, pytest.raises(StoreError, match="so a step needs"):
        growing.add_step(step)

    assert len(aw.open_analysis(out).steps) == 3
    aw.append(some(3, 4), out)
    assert len(aw.open_analysis(out).steps) == 4


# --- readers ----------------------------------------------------------------------------------


def test_readers_see_whole_steps_while_they_are_added_and_merged(
    tmp_path: Path, whole: aw.Analysis, numbers: aw.Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "FANOUT", 2)
    header = replace(unmeasured(whole.header), keeps_state=False)
    out, is_done, wrong = tmp_path / "live.accw", threading.Event(), []
    growing = GrowingAnalysis.begin(out, header, measured(numbers, 0, header))

    def read() -> None:
        most = 0
        held = aw.open_analysis(out)
        while not is_done.is_set():
            try:
                now = aw.open_analysis(out)
                assert_same(now, whole, len(now.steps))
                assert len(now.steps) >= most, "steps do not go away"
                most = len(now.steps)
                assert_same(read_again(held), whole, len(held.steps))
                held = now if most % 2 else held
            except BaseException as error:
                wrong.append(repr(error))
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for place in range(1, COUNT):
        growing.add_step(measured(numbers, place, header))
    is_done.set()
    for reader in readers:
        reader.join()
    growing.close()

    assert wrong == []


def read_again(held: aw.Analysis) -> aw.Analysis:
    """Return an open analysis whose numbers are read again."""
    assert held.store
    return aw.Analysis(Stored(held.store))


# --- kills ------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of a process: nothing is done to files from here on."""


CHANGES = ("open", "rename", "replace", "mkdir", "unlink", "rmdir")


@contextmanager
def killed_at(number: int) -> Iterator[list[int]]:
    """Kill this process, as far as files can tell, at a change of files or in a write."""
    done = [0]

    def count() -> None:
        done[0] += 1
        if done[0] > number:
            raise Killed

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if change is not really["open"] or arguments[1] & os.O_CREAT:
                count()
            return change(*arguments, **named)

        return call

    def torn(file: Any, content: Any) -> None:
        flat = memoryview(content).cast("B")
        write_all(file, flat[: len(flat) // 2])
        count()
        write_all(file, flat[len(flat) // 2 :])

    really = {name: getattr(os, name) for name in CHANGES}
    write_all = files.write_all
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, counted(really[name]))
        for module in (files, zarr_chunks):
            patch.setattr(module, "write_all", torn)
        yield done


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """Checkpoint files, by how many there are."""
    paths = store_edits.checkpoints(tmp_path_factory.mktemp("few"), 7)
    return {count: paths[:count] for count in range(8)}


def grow(few: dict[int, list[str]], out: Path, count: int) -> aw.Analysis:
    return aw.append(aw.open_run(few[count]), out, threads=1)


@pytest.mark.parametrize("added", [pytest.param(4, id="first"), pytest.param(6, id="merged")])
def test_killed_at_any_change_of_files_the_last_whole_step_stays(
    few: dict[int, list[str]], tmp_path: Path, added: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "FANOUT", 3)
    before, out = tmp_path / "before" / "run.accw", tmp_path / "out" / "run.accw"
    store_edits.analysed(few[3], before)
    for count in range(4, min(added, 6)):
        grow(few, before, count)
    had = len(aw.open_analysis(before).steps)
    whole = aw.analyze(aw.open_run(few[added]), roles=store_edits.ROLES)
    shutil.copytree(before.parent, out.parent)
    with killed_at(1 << 30) as changes:
        grow(few, out, added)
    expected = tree_of(out)

    for number in range(0, changes[0], KILLED_EVERY):
        shutil.rmtree(out.parent)
        shutil.copytree(before.parent, out.parent)
        with pytest.raises(Killed), killed_at(number):
            grow(few, out, added)

        found = aw.open_analysis(out)
        assert len(found.steps) in (had, added), number
        np.testing.assert_array_equal(found.values, whole.values[: len(found.steps)])
        store_edits.figures(out)
        if len(found.steps) == had:
            grow(few, out, added)
        else:  # done, but for what any later writer clears away
            GrowingAnalysis.open(out).close()
        assert tree_of(out) == expected, number
        assert os.listdir(out.parent) == [out.name], number


KILLED_EVERY = int(os.environ.get("ACCWEIGHT_KILLED_EVERY", "1" if THOROUGH else "47"))
"""Of so many changes of files one is tried."""


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
        for file in folder.rglob("*")
    }
