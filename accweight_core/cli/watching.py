"""`accweight watch`: follow a folder, and keep its ranking up to date."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.cli.output import Page
    from accweight_core.jobs.looks import Look
    from accweight_core.jobs.watching import Watcher
    from accweight_core.runs.selection import Selection


@click.command()
@click.argument("folder", type=options.FILE, help="The folder that a job writes checkpoints to.")
@click.option(
    "-o", "--out", required=True, metavar="NAME.accw", help="Folder to store the analysis in."
)
@options.takes_selection
@options.roles("weight,embedding")
@options.metric
@options.threads
@options.picture_budget
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Read a checkpoint after it was unchanged for so long.",
)
@click.option(
    "--poll",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="List the folder so often instead of being told of changes; "
    "by default on network file systems, every 10.",
)
@click.option("--once", is_flag=True, help="Add what is complete, and exit; for cron.")
@options.as_json
def watch(
    folder: Path,
    out: str,
    selection: Selection,
    roles: str,
    by: str | None,
    picture_budget: str | None,
    settle: float,
    poll: float | None,
    *,
    once: bool,
    json: bool,
    **how: Any,
) -> None:
    """Measure checkpoints as a job writes them. Each is read once; then it may be deleted."""
    from accweight_core.cli import output, rankings
    from accweight_core.jobs import following, watching
    from accweight_core.metrics.table import checked_metric

    if by is not None:
        checked_metric(by)
    how["picture_budget_bytes"] = (
        None if picture_budget is None else options.parsed_size(picture_budget)
    )
    counted = options.parsed_roles(roles)
    watcher = watching.Watcher(
        folder, out, selection, roles=counted, settle_s=settle, notice=output.remark, **how
    )
    with _interrupted_by_sigterm(), output.in_place() as redraw, suppress(KeyboardInterrupt):
        show = _told(by, redraw, is_quiet=json or once)
        following.follow(watcher, once=once, poll_s=poll, until=show)
    is_first = len(watcher.places) == 1
    if watcher.analysis is None or (is_first and len(watcher.analysis.steps) < 2):
        return
    if json:
        output.show({**rankings.analysis_json(watcher.analysis, by), **_segments(watcher)})
    else:
        output.show(rankings.analysis_summary(watcher.analysis, by))


def _segments(watcher: Watcher) -> dict[str, Any]:
    """Return the analyses of a job: one more for each time that it was restarted."""
    from accweight_core.store.analysis_store import Store

    headers = [(str(place), Store.open(place).header) for place in watcher.places]
    return {"segments": [{"out": out, "steps": header.steps.tolist()} for out, header in headers]}


def _told(
    by: str | None, redraw: Callable[[Page], None] | None, *, is_quiet: bool
) -> Callable[[Look], None]:
    """Return what tells the user of each look at the folder.

    Args:
        by: The metric of the ranking; None for the default.
        redraw: Puts a page in place of the one before, on a terminal.
        is_quiet: Whether nothing is shown on stdout before the end.
    """
    from accweight_core.cli import output, rankings

    told: set[str] = set()

    def tell(look: Look) -> None:
        is_alone = look.analysis is None or len(look.analysis.steps) < 2
        aside = [f"waiting for {look.waits_for}"] if look.waits_for and is_alone else []
        aside += [str(look.problem)] if look.problem is not None else []
        warnings = look.analysis.header.warnings if look.analysis and look.added else ()
        output.remark(*(line for line in aside if line not in told))
        output.warn(*(line for line in warnings if line not in told))
        told.update(aside, warnings)
        if look.added and look.analysis is not None and not is_quiet:
            if redraw is None:
                output.show([rankings.step_line(look.analysis, by, step) for step in look.added])
            elif not is_alone:
                redraw(rankings.analysis_summary(look.analysis, by))

    return tell


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
