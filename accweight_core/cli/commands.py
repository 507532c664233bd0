"""The commands themselves: thin, each one call into the library and one into `tables`."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from accweight_core.cli.comparing import align, compare
from accweight_core.cli.listing import metrics
from accweight_core.cli.options import (
    AsJson,
    Metric,
    Per,
    PerRow,
    Roles,
    Selected,
    Source,
    Step,
    StoredAnalysis,
    Threads,
    WriteMap,
    named,
    parsed_roles,
    parsed_size,
    takes_selection,
)


class EngineChoice(StrEnum):
    """Who walks the blocks of a run."""

    threads = "threads"
    dask = "dask"


class ExportFormat(StrEnum):
    """Formats that an analysis can be exported to."""

    csv = "csv"
    parquet = "parquet"
    npz = "npz"


@takes_selection
def inspect(
    source: Source,
    selection: Selected,
    write_map: WriteMap = None,
    json: AsJson = False,
) -> None:
    """Show what is there: format, steps and where they come from, layers. Reads no weights."""
    from accweight_core.alignment.map_template import write_template
    from accweight_core.cli import tables
    from accweight_core.runs.inspection import inspected

    if write_map:  # a map may make one run of several formats
        selection = replace(selection, mixed=True)
    result = inspected(named(source), selection)
    document = result.to_json()
    if write_map:
        tables.remark(write_template(write_map, result.groups))
        document["map"] = str(write_map)
    tables.show(document if json else tables.inspection(result))


@takes_selection
def analyze(
    source: Source,
    out: Annotated[str, typer.Option("-o", "--out", help="Folder to store in (NAME.accw).")],
    selection: Selected,
    roles: Roles = "weight,embedding",
    by: Metric = "mean",
    threads: Threads = None,
    picture_budget: Annotated[
        str | None,
        typer.Option(
            help="Bytes that stored pictures may take, such as 256M; 0 for none. "
            "By default a sixteenth of the checkpoints, 64M to 1G."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Stop at the first NaN or infinity.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace another analysis at OUT.")] = False,
    keep_state: Annotated[
        bool, typer.Option("--keep-state", help="Store what --append needs: 16 bytes per weight.")
    ] = False,
    append: Annotated[
        bool,
        typer.Option("--append", help="Add later checkpoints to OUT without reading the old ones."),
    ] = False,
    engine: Annotated[
        EngineChoice,
        typer.Option(help="Who does the work: threads of this process, or a cluster of dask."),
    ] = EngineChoice.threads,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Scheduler of a dask cluster (tcp://...); processes of this machine by default."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Measure a run: how far every weight travelled. Stores the analysis, prints the ranking."""
    from accweight_core.cli import tables
    from accweight_core.jobs.pipeline import analyze as measure
    from accweight_core.jobs.pipeline import append as add
    from accweight_core.metrics.table import checked_metric
    from accweight_core.runs.opening import selected_run

    checked_metric(by)
    run = selected_run(named(source), selection)
    budget = None if picture_budget is None else parsed_size(picture_budget)
    counted = parsed_roles(roles)
    with tables.progress("analyze") as advance:
        if append:
            analysis = add(
                run,
                out,
                threads=threads,
                picture_budget_bytes=budget,
                strict=strict,
                engine=engine.value,
                scheduler=scheduler,
                progress=advance,
                notice=tables.remark,
            )
        else:
            analysis = measure(
                run,
                out,
                roles=counted,
                threads=threads,
                picture_budget_bytes=budget,
                strict=strict,
                overwrite=overwrite,
                keep_state=keep_state,
                engine=engine.value,
                scheduler=scheduler,
                progress=advance,
                notice=tables.remark,
            )
    tables.remark(*analysis.header.notes)
    tables.warn(*analysis.header.warnings)
    tables.show(
        tables.analysis_json(analysis, by) if json else tables.analysis_summary(analysis, by)
    )


def rank(
    analysis: StoredAnalysis,
    by: Metric = "mean",
    at: Step = None,
    per: PerRow = Per.layer,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    roles: Roles = "",
    json: AsJson = False,
) -> None:
    """Rank the layers of an analysis by one metric at one step."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import tables

    opened = open_analysis(analysis)
    counted = parsed_roles(roles) if roles else None
    document = tables.ranking_json(opened, by, at, per.value, top, counted)
    tables.show(document if json else tables.ranking_page(document, per.value))


def export(
    analysis: StoredAnalysis,
    to: Annotated[ExportFormat, typer.Option("--to", help="Format to write.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; - for stdout.")],
    per: PerRow = Per.layer,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
    json: AsJson = False,
) -> None:
    """Write every metric of every layer and step to a file, or to stdout."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.analysis.export import export as write
    from accweight_core.cli import tables

    if str(out) == "-":
        _check_stdout_is_free(to, json=json)
        rows = write(open_analysis(analysis), sys.stdout.buffer, to.value, per=per.value)
        tables.remark(f"{rows} rows written to stdout")
        return
    rows = write(open_analysis(analysis), out, to.value, per=per.value, overwrite=overwrite)
    document: dict[str, Any] = {"out": str(out), "to": to.value, "rows": rows}
    tables.show(document if json else f"{rows} rows written to {out}")


def _check_stdout_is_free(to: ExportFormat, *, json: bool) -> None:
    """Raise if what is exported to stdout would meet something else, or somebody, there."""
    if json:
        raise typer.BadParameter("-o - and --json both write to stdout; take one of them")
    if to is not ExportFormat.csv and sys.stdout.isatty():
        raise typer.BadParameter(
            f"{to.value} is binary, and stdout is a terminal; name a file, or redirect with > FILE"
        )


COMMANDS = (inspect, analyze, rank, compare, align, export, metrics)
"""Every command of core: a function in this folder, listed here."""
