"""The command `analyze`: one run, or every series of a source, with probes in the same walk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.cli.options import named, parsed_roles, parsed_size

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.runs.selection import Selection
    from accweight_core.schema import Run

MOST_WARNINGS = 10
"""Warnings that are printed: a run that diverged has one for every parameter."""

Options = Mapping[str, Any]
"""Keyword arguments of the library."""


@click.command()
@options.source
@click.option(
    "-o", "--out", required=True, metavar="NAME.accw", help="Folder to store the analysis in."
)
@options.takes_selection
@click.option(
    "--all", "every", is_flag=True, help="Analyse each series of SOURCE, as OUT/NAME.accw."
)
@options.roles("weight,embedding")
@options.metric
@options.threads
@options.picture_budget
@click.option(
    "--memory",
    metavar="SIZE",
    help="Limit of memory for compressed or encoded parameters, such as 8G; "
    "by default the free memory.",
)
@click.option("--strict", is_flag=True, help="Fail if there is NaN or infinity; names the first.")
@click.option("--overwrite", is_flag=True, help="Replace another analysis at OUT.")
@click.option("--keep-state", is_flag=True, help="Store what --append needs: 16 bytes per weight.")
@click.option(
    "--append", is_flag=True, help="Add later checkpoints to OUT without reading the old ones."
)
@click.option(
    "--engine",
    type=click.Choice(["threads", "dask"]),
    default="threads",
    show_default=True,
    help="Run in threads of this process, or on a dask cluster.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Scheduler of a dask cluster (tcp://...); by default, local processes.",
)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help="Probe of weights to evaluate too; trajectory is observed in the same walk.",
)
@options.as_json
def analyze(
    source: tuple[str, ...],
    out: str,
    selection: Selection,
    roles: str,
    by: str | None,
    picture_budget: str | None,
    memory: str | None,
    probes: tuple[str, ...],
    *,
    every: bool,
    overwrite: bool,
    keep_state: bool,
    append: bool,
    json: bool,
    **how: Any,
) -> None:
    """Measure a run: how far every weight travelled. Stores the analysis, prints the ranking."""
    from accweight_core.alignment.graph_binding import keep_model_graph
    from accweight_core.cli import output, rankings
    from accweight_core.cli.walked_probes import WalkedProbes
    from accweight_core.metrics.table import checked_metric
    from accweight_core.text import plain

    if by is not None:
        checked_metric(by)
    how["picture_budget_bytes"] = None if picture_budget is None else parsed_size(picture_budget)
    how["memory_bytes"] = None if memory is None else parsed_size(memory)
    of_new = {"roles": parsed_roles(roles), "overwrite": overwrite, "keep_state": keep_state}
    walked = WalkedProbes.of(probes)
    documents: list[dict[str, Any]] = []
    for name, (run, path) in _runs(source, out, selection, every=every, append=append).items():
        observer = None if append else walked.observer(run)
        analysis = _measured(run, path, how, None if append else {**of_new, "observer": observer})
        if selection.model is not None:
            keep_model_graph(analysis, selection.model)
        _remark(analysis)
        results = walked.evaluated(analysis, observer)
        if json:
            document = {**rankings.analysis_json(analysis, by), **walked.document(results)}
            documents.append({"series": name, **document} if every else document)
        else:
            heading = [f"series {plain(name)}", ""] if every else []
            output.show([*heading, *rankings.analysis_summary(analysis, by)])
            output.show(walked.page(results))
    if json:
        output.show({"analyses": documents} if every else documents[0])


def _runs(
    source: tuple[str, ...], out: str, selection: Selection, *, every: bool, append: bool
) -> dict[str, tuple[Run, str]]:
    """Return the runs to measure, and where each is stored, by the names of their series."""
    from accweight_core.cli.outputs import outputs_in
    from accweight_core.jobs.appending import analysed_before
    from accweight_core.runs.opening import selected_run, selected_runs
    from accweight_core.runs.surveying import like_none

    if every:
        runs = selected_runs(named(source), selection)
        outs = outputs_in(out, list(runs))
        return {name: (run, outs[name]) for name, run in runs.items()}
    like = partial(analysed_before, out) if append else like_none
    return {"": (selected_run(named(source), selection, like), out)}


def _measured(run: Run, path: str, how: Options, of_new: Options | None) -> Analysis:
    """Measure a run, or append it to its analysis.

    Args:
        run: The run.
        path: Where its analysis is stored.
        how: Options of both.
        of_new: Options of a new analysis; None to append.
    """
    from accweight_core.cli import output
    from accweight_core.jobs.appending import append
    from accweight_core.jobs.pipeline import analyze as measure

    with output.progress("analyze") as advance:
        told = {**how, "progress": advance, "notice": output.remark}
        return append(run, path, **told) if of_new is None else measure(run, path, **of_new, **told)


def _remark(analysis: Analysis) -> None:
    """Print the notes and the first warnings of an analysis."""
    from accweight_core.cli import output

    output.remark(*analysis.header.notes)
    warnings = analysis.header.warnings
    output.warn(*warnings[:MOST_WARNINGS])
    if warnings[MOST_WARNINGS:]:
        output.warn(f"{len(warnings) - MOST_WARNINGS} more like these; --json lists all")
