"""Watch: follow a folder while a job writes checkpoints into it, and measure each of them once.

`Watcher.look` does what is due now and never waits, so that whoever follows a folder (`following`)
only has to call it again when something has changed. What is known of a run lies in its analysis
alone: a watcher that was killed goes on from there, and needs no checkpoint that it has measured.

Where the job was started again from an earlier step (`restarts`), its analysis stays as it is, and
another one is begun beside it, which goes on from there. Which checkpoints are complete, `settling`
tells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from accweight_core.analysis.analysis import Analysis, open_analysis
from accweight_core.arguments import checked_roles
from accweight_core.errors import (
    FormatError,
    SeveralSeriesError,
    SourceError,
    StepOrderError,
    StoreError,
)
from accweight_core.io.target import target_at
from accweight_core.jobs.appending import append
from accweight_core.jobs.engines.workers import Notice
from accweight_core.jobs.looks import Look
from accweight_core.jobs.pipeline import analyze
from accweight_core.jobs.restarts import Repeated, after_last, restart_after, told
from accweight_core.jobs.same_run import check_same_run, with_names_of
from accweight_core.jobs.settling import UNREAD_S, Settling
from accweight_core.runs.first_step import is_first_of_run
from accweight_core.runs.opening import Opened, grouped, opened_series, run_of
from accweight_core.runs.search import Broken
from accweight_core.runs.selection import ALL, Selection
from accweight_core.runs.series import Series
from accweight_core.runs.sources import check_no_analysis
from accweight_core.runs.surveying import Place, Survey, chosen_series, surveyed
from accweight_core.schema import DEFAULT_ROLES, Checkpoint, Restart, Role, Run
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import is_taken
from accweight_core.store.header import Header
from accweight_core.store.probe_store import probes_in
from accweight_core.store.restarts import chain_from, free_place

RETRY_S = 10.0
"""When to try again what failed although nothing has changed, such as writing on a full disk."""


class Watcher:
    """Follows one series of checkpoints in a folder.

    Attributes:
        folder: The folder.
        out: Folder of the analysis.
        places: Folders of the analyses, in order: that one, and one for each time that the job
            was started again from an earlier step. The last one is added to.
        analysis: The last of these analyses as it is now; None until it is begun.
        settle_s: Seconds for which a checkpoint has to be unchanged before it is read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        out: str | os.PathLike[str],
        selection: Selection = ALL,
        *,
        roles: Iterable[Role | str] = DEFAULT_ROLES,
        settle_s: float = 1.0,
        notice: Notice = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        **how: Any,
    ) -> None:
        """Open the analysis if there is one.

        Args:
            folder: The folder that the job writes to.
            out: Folder of the analysis (NAME.accw); an existing one is continued.
            selection: Which of the files there are checkpoints of the run.
            roles: As in `analyze`; an existing analysis keeps its own.
            settle_s: Seconds for which a checkpoint has to be unchanged before it is read.
            notice: Called with messages for the user.
            clock: Returns seconds that never go back.
            **how: Further arguments of `analyze` and `append`, such as `threads`.

        Raises:
            SourceError: If the folder does not exist, or is an analysis.
            StoreError: If `out` is something else, or an analysis that cannot be continued.
        """
        self.folder, self.out = Path(folder), target_at(out, "an analysis")
        if not self.folder.is_dir():
            what, begin = "no such folder", ", or create it if the job has not begun"
            if self.folder.exists():
                what, begin = "is a file, not a folder", ""
            raise SourceError(f"{self.folder}: {what}; watch the one the job writes to{begin}")
        check_no_analysis([self.folder])
        self._selection, self._roles, self._how = selection, checked_roles(roles), how
        self.settle_s, self._notice = settle_s, notice
        self._settling = Settling(settle_s, self.tell, clock)
        self._told: set[str] = set()
        self._repeated = Repeated()
        self._open()

    def _open(self) -> None:
        """Open the analyses that are there."""
        self._restart: Restart | None = None
        self._before: Header | None = None
        self._begun: frozenset[int] = frozenset()
        self._replaces = self._is_same = False
        self.places = chain_from(self.out) if is_taken(self.out) else [self.out]
        self.analysis = self._stored()

    def look(self) -> Look:
        """Measure the checkpoints that are complete and were not measured yet.

        Raises:
            SeveralSeriesError: If there are several runs, and none was chosen.
            MismatchError: If a checkpoint has other parameters than those before.
            StepOrderError: If two different new checkpoints have one step.
        """
        if self.analysis is not None and not is_taken(self.places[-1]):
            self.tell(
                f"{self.places[-1]} is gone, so it is begun anew with what is in {self.folder}"
            )
            self._open()
        try:
            found = surveyed(self.folder, self._selection)
            series = self._series(found)
        except FormatError as error:  # no file can be read
            self._settling.being_written([Broken(Path(error.path), error)])
            return self._waiting("a checkpoint that can be read", UNREAD_S)
        except SourceError as error:
            if not os.access(self.folder, os.R_OK | os.X_OK):  # removed, or not to be read
                return Look(self.analysis, problem=error, again_s=RETRY_S)
            series = None
        if series is None:
            return self._waiting("checkpoints")
        opened = opened_series(found, series, is_only=self._selection.series is None)
        look = self._next_measured(opened, series)
        return replace(look, has_more=bool(look.added and self._written_later(opened)))

    def _next_measured(self, opened: Opened, series: Series) -> Look:
        """Measure what is new; begin another analysis if the job was started again.

        Notes on what lies beside later checkpoints (copies, files that are being written) are of
        this moment, and would be stored again with every step; those of the first are kept.
        """
        self._settling.are_settled(opened.checkpoints)  # from now on, whichever analysis takes them
        if self.analysis is None:
            return self._measured(self._to_begin_with(opened), series)
        later = self._written_later(opened)
        fresh = after_last(opened.checkpoints, self.analysis.header, later)
        if not fresh and not later:
            self._check_same_run(opened)
        if fresh or not later:
            return self._measured(replace(opened, checkpoints=fresh, notes=()), series)
        is_settling = not self._settling.are_settled(later)
        if is_settling or self._settling.being_written(series.broken):  # which may be the first one
            waiting = self._waiting(self._next, self.settle_s)
            return replace(waiting, is_settling=is_settling)
        try:
            first = self._repeated.first(later, self.analysis, partial(self._run_of, opened))
        except FormatError as error:  # changed, or gone, while it was read
            self._settling.begin_again()
            return Look(self.analysis, problem=error, again_s=max(self.settle_s, RETRY_S))
        if first is not None:
            self._begin_another(first)
        return self._next_measured(opened, series)

    def _measured(self, opened: Opened, series: Series) -> Look:
        """Measure what is complete among new checkpoints."""
        fresh = opened.checkpoints
        if len({checkpoint.step for checkpoint in fresh}) < len(fresh):
            raise StepOrderError(series.clash)
        found = self._settling.complete(fresh, series.broken)
        ready = self._as_begun(found.checkpoints)
        if ready and (self.analysis is not None or self._can_begin(ready, series)):
            return self._added(replace(opened, checkpoints=ready))
        waiting = self._waiting(self._next, found.again_s)
        return replace(waiting, is_settling=found.is_settling)

    def _can_begin(self, ready: Sequence[Checkpoint], series: Series) -> bool:
        """Tell whether checkpoints can begin the analysis: two, or one whose step is certain.

        After a restart one is enough, but the one that the job went on from is not.
        """
        if self._restart is not None:
            return ready[-1].step >= self._restart.first_step
        alone = next(one for one in series.placed if str(one.found.path) == ready[0].path)
        return len(ready) > 1 or is_first_of_run(alone)

    @property
    def _next(self) -> str:
        """What is waited for once there is a checkpoint."""
        is_begun = self.analysis is not None and len(self.analysis.steps) > 1
        return "the next checkpoint" if is_begun else "a second checkpoint"

    def _added(self, opened: Opened) -> Look:
        """Measure checkpoints and store them."""
        steps = tuple(checkpoint.step for checkpoint in opened.checkpoints)
        run = replace(self._run_of(opened, opened.checkpoints), restart=self._restart)
        place = self.places[-1]
        try:
            if self.analysis is not None:
                self.analysis = append(run, place, notice=self._notice, **self._how)
            else:
                self.analysis = analyze(
                    run,
                    place,
                    roles=self._before.roles if self._before else self._roles,
                    keep_state=True,
                    overwrite=self._replaces or self._begun not in (set(), set(steps)),
                    notice=self._notice,
                    **self._how,
                )
                self._begun, self._replaces = frozenset(), False
        except FormatError as error:  # changed, or gone, while it was read; or damaged
            self._settling.begin_again()
            return Look(self.analysis, problem=error, again_s=max(self.settle_s, RETRY_S))
        except StoreError as error:
            if self.analysis is None:  # what is on disk by now is finished first
                with suppress(StoreError):
                    self.analysis = self._stored()
            return Look(self.analysis, problem=error, again_s=RETRY_S)
        self._settling.forget(opened.checkpoints)
        return replace(self._waiting(self._next), added=steps)

    def _series(self, found: Survey) -> Series | None:
        """Return the series that is followed; None if it has not begun yet."""
        try:
            return chosen_series(found, self._selection, self._places)
        except SeveralSeriesError:
            if self._selection.series is None and any(one.is_complete for one in found.series):
                raise
            return None

    def _places(self) -> tuple[Place, ...]:
        """Return where checkpoints of the job lie that were measured."""
        header = self._before if self.analysis is None else self.analysis.header
        return tuple(Place(one.path, one.copy) for one in header.checkpoints) if header else ()

    def _stored(self) -> Analysis | None:
        """Return the last analysis, which is continued; None if it has to be begun."""
        place = self.places[-1]
        if not is_taken(place):
            return None
        header = Store.begun_at(place).header
        if not header.keeps_state:
            raise StoreError(
                f"{place}: the analysis was made without --keep-state, so nothing can be added; "
                "choose another output"
            )
        self._restart = header.restart
        if header.complete:
            return open_analysis(place)
        if self.places[:-1]:
            self._before = Store.begun_at(self.places[-2]).header
        self._begun = frozenset(map(int, header.steps))
        return None

    def _as_begun(self, ready: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
        """Return the checkpoints of an unfinished analysis, if they are there still; else all."""
        same = tuple(one for one in ready if one.step in self._begun)
        return same if same and len(same) == len(self._begun) else ready

    def _run_of(self, opened: Opened, checkpoints: tuple[Checkpoint, ...]) -> Run:
        return run_of(replace(opened, checkpoints=checkpoints), self._selection)

    def _check_same_run(self, opened: Opened) -> None:
        """Check once that what is there, none of it later, is the run that was analysed."""
        assert self.analysis is not None
        since = self._restart.last_changed_ns if self._restart else 0
        own = tuple(one for one in opened.checkpoints if one.changed_ns > since)
        if own and not self._is_same:
            header = self.analysis.header
            run = with_names_of(self._run_of(opened, own), header)
            check_same_run(run, header, self.places[-1])
            self._is_same = True

    # ------------------------------------------------------------ jobs that were started again

    def _written_later(self, opened: Opened) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that may tell that the job was started again."""
        if self.analysis is None:
            return ()
        return self._repeated.written_later(opened.checkpoints, self.analysis.header)

    def _begin_another(self, first: Checkpoint) -> None:
        """Go on in another analysis, beside the one so far.

        Where the only step is written again, no change was measured yet: it is replaced.

        Args:
            first: The first checkpoint of the job that was started again.
        """
        assert self.analysis is not None
        header, before = self.analysis.header, self.places[-1]
        self._before = header
        self._replaces = header.steps.tolist() == [first.step] and not probes_in(before)
        if self._replaces:
            self.tell(
                f"step {first.step}, the only one, was written again, so the job was probably "
                f"restarted: {before} is begun anew"
            )
        else:
            place = free_place(before, header)
            self.tell(
                f"{told(first, header)}: {before} stays as it is, and what the job has written "
                f"since is in {place}"
            )
            self._restart = restart_after(self.analysis, before.name, first)
            self.places.append(place)
        self.analysis, self._is_same = None, False

    def _to_begin_with(self, opened: Opened) -> Opened:
        """Return the checkpoints that an analysis is begun with."""
        if self._restart is None:
            return opened
        begun_with = self._repeated.begun_with(
            opened.checkpoints,
            self._restart,
            lambda some: len(grouped(replace(opened, checkpoints=some), self._selection)) == 1,
        )
        return replace(opened, checkpoints=begun_with)

    def tell(self, line: str) -> None:
        """Tell the user a line, once."""
        if line not in self._told:
            self._told.add(line)
            self._notice(line)

    def _waiting(self, wanted: str, again_s: float | None = None) -> Look:
        return Look(self.analysis, waits_for=f"{wanted} in {self.folder}", again_s=again_s)
