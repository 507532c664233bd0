"""The commands: each calls the library once, and prints the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.cli.advising import advise
from accweight_core.cli.checking import check
from accweight_core.cli.comparing import align, compare
from accweight_core.cli.exporting import export
from accweight_core.cli.graphing import graph
from accweight_core.cli.listing import metrics
from accweight_core.cli.options import named, parsed_roles, parsed_size
from accweight_core.cli.over_steps import layers, trace
from accweight_core.cli.plotting import plot
from accweight_core.cli.probing import probe
from accweight_core.cli.reporting import report
from accweight_core.cli.rewinding import rewind
from accweight_core.cli.watching import watch

if TYPE_CHECKING:
    from accweight_core.analysis.summary import Per
    from accweight_core.runs.selection import Selection

MOST_WARNINGS = 10
"""Warnings that are printed: a run that diverged has one for every parameter."""


@click.command()
@options.source
@options.takes_selection
@click.option(
    "--write-map",
    type=options.OUT,
    metavar="FILE",
    help="Write a map file with every name, to be edited.",
)
@options.as_json
def inspect(
    source: tuple[str, ...], selection: Selection, write_map: str | None, *, json: bool
) -> None:
    """Show format, steps and their origin, and layers of checkpoints. Reads no weights."""
    from accweight_core.cli import inspections, output
    from accweight_core.runs.inspection import inspected

    if write_map is not None:  # with a map, files of several formats can be one run
        selection = replace(selection, mixed=True)
    result = inspected(named(source), selection)
    document = result.to_json()
    if write_map is not None:
        from accweight_core.alignment.map_template import write_template

        output.remark(write_template(write_map, result.groups))
        document["map"] = write_map
    output.show(document if json else inspections.inspection(result))


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
    from accweight_core.cli import output, rankings
    from accweight_core.cli.outputs import outputs_in
    from accweight_core.cli.walked_probes import WalkedProbes
    from accweight_core.jobs.appending import analysed_before
    from accweight_core.jobs.appending import append as add
    from accweight_core.jobs.pipeline import analyze as measure
    from accweight_core.metrics.table import checked_metric
    from accweight_core.runs.opening import selected_run, selected_runs
    from accweight_core.text import plain

    if by is not None:
        checked_metric(by)
    how["picture_budget_bytes"] = None if picture_budget is None else parsed_size(picture_budget)
    how["memory_bytes"] = None if memory is None else parsed_size(memory)
    counted, walked = parsed_roles(roles), WalkedProbes.of(probes)
    if every:
        runs = selected_runs(named(source), selection)
        outs = outputs_in(out, list(runs))
    else:
        like = analysed_before(out) if append else ()
        runs, outs = {"": selected_run(named(source), selection, like)}, {"": out}
    documents: list[dict[str, Any]] = []
    for name, run in runs.items():
        with output.progress("analyze") as advance:
            how |= {"progress": advance, "notice": output.remark}
            if append:
                observer = None
                analysis = add(run, outs[name], **how)
            else:
                observer = walked.observer(run)
                analysis = measure(
                    run,
                    outs[name],
                    observer=observer,
                    roles=counted,
                    overwrite=overwrite,
                    keep_state=keep_state,
                    **how,
                )
        output.remark(*analysis.header.notes)
        warnings = analysis.header.warnings
        output.warn(*warnings[:MOST_WARNINGS])
        if warnings[MOST_WARNINGS:]:
            output.warn(f"{len(warnings) - MOST_WARNINGS} more like these; --json lists all")
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


@click.command()
@options.analysis
@options.metric
@options.step
@options.per_row
@click.option("--top", type=options.AT_LEAST_ONE, metavar="N", help="Only the first rows.")
@options.roles("")
@options.as_json
def rank(
    analysis: Path,
    by: str | None,
    at: int | None,
    per: Per,
    top: int | None,
    roles: str,
    *,
    json: bool,
) -> None:
    """Rank the layers of an analysis by one metric at one step."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import output, rankings

    opened = open_analysis(analysis)
    counted = parsed_roles(roles) if roles else None
    document = rankings.ranking_json(opened, by, at, per, top, counted)
    if json:
        output.show(document)
        return
    grave = rankings.grave_findings(opened)
    output.show([*rankings.ranking_page(document, per), *([""] * bool(grave)), *grave])


COMMANDS: Sequence[click.Command] = (
    inspect,
    analyze,
    watch,
    rank,
    layers,
    trace,
    compare,
    align,
    check,
    probe,
    rewind,
    advise,
    plot,
    graph,
    export,
    report,
    metrics,
)
"""All commands of accweight_core; each is a function in this folder."""
