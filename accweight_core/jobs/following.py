"""Follow a folder: look at it whenever something has changed there, until somebody says stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.jobs.changes import woken_by_changes
from accweight_core.jobs.engines.workers import Notice
from accweight_core.jobs.looks import Look
from accweight_core.jobs.same_run import nothing_new
from accweight_core.jobs.watching import Watcher
from accweight_core.runs.hints import in_python
from accweight_core.runs.name_map import NameMap
from accweight_core.runs.selection import Selection
from accweight_core.runs.series import Series
from accweight_core.schema import DEFAULT_ROLES, Role
from accweight_core.store.lock import locked_by_watcher

GAP_S = 0.5
"""Least time between two looks, as a file that is being written changes all the time."""

REST = 4
"""How many times as long as a look took nothing is done after it, if it found nothing to add."""


def follow(
    watcher: Watcher,
    *,
    once: bool = False,
    poll_s: float | None = None,
    until: Callable[[Look], bool | None] = lambda look: False,
) -> None:
    """Look at a folder whenever something has changed there, until the process is stopped.

    Args:
        watcher: The watcher.
        once: Whether to return after all complete checkpoints were added.
        poll_s: As in `watch`.
        until: Called after each look; True ends it.

    Raises:
        StoreError: If another watcher keeps this analysis, or with `once` if it cannot be written.
        MissingLibraryError: If watchdog is not installed, unless `once`.
        AccweightError: As in `Watcher.look`.
    """
    with locked_by_watcher(watcher.out):
        if once:
            _look_once(watcher, until)
            return
        with woken_by_changes(watcher.folder, poll_s, watcher.tell) as woken:
            while True:
                woken.clear()
                began = time.monotonic()
                look = watcher.look()
                took = time.monotonic() - began
                if until(look):
                    return
                if not look.added:
                    time.sleep(max(GAP_S, REST * took))
                    woken.wait(look.again_s)


def _look_once(watcher: Watcher, seen: Callable[[Look], Any]) -> None:
    """Add what is complete, after waiting once for what was found or changed a moment ago."""
    has_added = False
    while True:
        look = watcher.look()
        if look.is_settling:
            time.sleep(watcher.settle_s)
            look = watcher.look()
        seen(look)
        if look.problem is not None:
            raise look.problem
        has_added |= bool(look.added)
        if not look.has_more:
            break
    is_waiting = look.again_s is not None  # for a file that is being written
    if watcher.analysis is not None and not has_added and not is_waiting:
        watcher.tell(nothing_new(int(watcher.analysis.steps[-1])))


def watch(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    once: bool = False,
    until: Callable[[Look], bool | None] = lambda look: False,
    settle_s: float = 1.0,
    poll_s: float | None = None,
    roles: Iterable[Role | str] = DEFAULT_ROLES,
    reader: str | None = None,
    skip: Iterable[str] = (),
    exclude: Iterable[str] = (),
    series: str | Series | None = None,
    map: NameMap | str | os.PathLike[str] | None = None,
    threads: int | None = None,
    picture_budget_bytes: int | None = None,
    notice: Notice = lambda line: None,
) -> Analysis | None:
    """Measure checkpoints as a job writes them into a folder, each once.

    It goes on until `until` says so, or an exception such as `KeyboardInterrupt` ends it; the same
    call continues the analysis then. If the job was probably started again from an earlier step,
    what it writes since is another analysis, beside `out`: `run-2.accw` for `run.accw`.

    Args:
        folder: The folder that the job writes to.
        out: Folder of the analysis (NAME.accw); an existing one is continued, or the last of those
            that go on from it.
        once: Return after all complete checkpoints were added.
        until: Called after each look with what it has found, a `Look`; True ends it.
        settle_s: Seconds for which a checkpoint has to be unchanged before it is read.
        poll_s: Seconds between two listings of the folder, where the file system does not tell of
            changes; by default this is done on network file systems, every ten seconds.
        roles: As in `analyze`; an existing analysis keeps its own.
        reader: As in `open_run`.
        skip: As in `open_run`.
        exclude: As in `open_run`.
        series: As in `open_run`.
        map: As in `open_run`.
        threads: As in `analyze`.
        picture_budget_bytes: As in `analyze`.
        notice: Called with messages for the user.

    Returns:
        The analysis, the last one if there are several; None if no checkpoint has come.

    Raises:
        SourceError: If the folder does not exist.
        StoreError: If another watcher keeps this analysis, or it cannot be continued.
        SeveralSeriesError: If there are several runs, and none was chosen.
        MismatchError: If a checkpoint has other parameters than those before.
        StepOrderError: If two different new checkpoints have one step.
        MissingLibraryError: If watchdog is not installed, unless `once`.
    """
    selection = Selection.of(reader=reader, skip=skip, exclude=exclude, series=series, map=map)
    with in_python():
        watcher = Watcher(
            folder,
            out,
            selection,
            roles=roles,
            settle_s=settle_s,
            notice=notice,
            threads=threads,
            picture_budget_bytes=picture_budget_bytes,
        )
        follow(watcher, once=once, poll_s=poll_s, until=until)
    return watcher.analysis
