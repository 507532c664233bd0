"""The commands: each calls the library once, and prints the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accweight_core.cli import options
from accweight_core.cli.advising import advise
from accweight_core.cli.analyzing import analyze
from accweight_core.cli.checking import check
from accweight_core.cli.comparing import align, compare
from accweight_core.cli.exporting import export
from accweight_core.cli.graphing import graph
from accweight_core.cli.listing import metrics
from accweight_core.cli.options import named, parsed_roles
from accweight_core.cli.over_steps import layers, trace
from accweight_core.cli.plotting import plot
from accweight_core.cli.probing import probe
from accweight_core.cli.reporting import report
from accweight_core.cli.rewinding import rewind
from accweight_core.cli.watching import watch

if TYPE_CHECKING:
    from accweight_core.analysis.summary import Per
    from accweight_core.runs.selection import Selection


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
