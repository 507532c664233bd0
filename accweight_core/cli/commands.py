"""The commands themselves: thin, each one call into the library and one into `tables`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from accweight_core.cli.comparing import align, compare
from accweight_core.cli.listing import metrics

Source = Annotated[
    list[str], typer.Argument(help="A file, a folder, a glob, or several files in order; or URLs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ReaderName = Annotated[
    str | None, typer.Option("--reader", help="Reader to use instead of looking at the content.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="ONNX model that supplies layer kinds and network order."),
]
Skip = Annotated[
    list[str] | None, typer.Option("--skip", help="Leave out parameters of this name (pattern).")
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", help="Leave out files of this name (pattern).")
]
GroupChoice = Annotated[
    str | None,
    typer.Option(
        "--group",
        help="Of checkpoints with different parameters, take this group: a number, or 'largest'.",
    ),
]
GivenOrder = Annotated[
    bool, typer.Option("--given-order", help="Take the files in the order given.")
]
Map = Annotated[
    Path | None,
    typer.Option("--map", help="Map file: what is called how; inspect --write-map writes one."),
]
WriteMap = Annotated[
    Path | None,
    typer.Option("--write-map", help="Write a map file with every name, to be edited."),
]
Metric = Annotated[str, typer.Option("--by", help="Metric to rank by.")]
Step = Annotated[int | None, typer.Option("--at", help="Step to look at; the last by default.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads, or processes of dask; one per processor by default."),
]


class Per(StrEnum):
    """What a row of a ranking stands for."""

    layer = "layer"
    parameter = "parameter"


class EngineChoice(StrEnum):
    """Who walks the blocks of a run."""

    threads = "threads"
    dask = "dask"


class ExportFormat(StrEnum):
    """Formats that an analysis can be exported to."""

    csv = "csv"
    parquet = "parquet"
    npz = "npz"


def inspect(
    source: Source,
    reader: ReaderName = None,
    model: Model = None,
    skip: Skip = None,
    exclude: Exclude = None,
    group: GroupChoice = None,
    given_order: GivenOrder = False,
    map: Map = None,
    write_map: WriteMap = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what is there: format, steps and where they come from, layers. Reads no weights."""
    from accweight_core.alignment.map_template import write_template
    from accweight_core.cli import tables
    from accweight_core.runs.inspection import inspected

    result = inspected(
        _source(source),
        reader=reader,
        model=model,
        skip=skip or (),
        exclude=exclude or (),
        group=group,
        in_given_order=given_order,
        map=map,
        mixed=write_map is not None,
    )
    document = result.to_json()
    if write_map:
        tables.remark(write_template(write_map, result.groups))
        document["map"] = str(write_map)
    tables.show(document if json else tables.inspection(result))


def analyze(
    source: Source,
    out: Annotated[str, typer.Option("-o", "--out", help="Folder to store in (NAME.accw).")],
    reader: ReaderName = None,
    model: Model = None,
    skip: Skip = None,
    exclude: Exclude = None,
    group: GroupChoice = None,
    given_order: GivenOrder = False,
    map: Map = None,
    roles: Annotated[
        str, typer.Option(help="Roles that count in layers, comma-separated.")
    ] = "weight,embedding",
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
    debug: Debug = False,
) -> None:
    """Measure a run: how far every weight travelled. Stores the analysis, prints the ranking."""
    from accweight_core.cli import tables
    from accweight_core.cli.options import parsed_roles, parsed_size
    from accweight_core.jobs.pipeline import analyze as measure
    from accweight_core.jobs.pipeline import append as add
    from accweight_core.metrics.table import checked_metric
    from accweight_core.runs.opening import open_run

    checked_metric(by)
    run = open_run(
        _source(source),
        reader=reader,
        model=model,
        skip=skip or (),
        exclude=exclude or (),
        group=group,
        in_given_order=given_order,
        map=map,
    )
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
    analysis: Annotated[Path, typer.Argument(help="An analysis (NAME.accw).")],
    by: Metric = "mean",
    at: Step = None,
    per: Annotated[Per, typer.Option(help="What a row stands for.")] = Per.layer,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Rank the layers of an analysis by one metric at one step."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import tables

    opened = open_analysis(analysis)
    document = tables.ranking_json(opened, by, at, per.value, top)
    tables.show(document if json else tables.ranking_table(document, per.value))


def export(
    analysis: Annotated[Path, typer.Argument(help="An analysis (NAME.accw).")],
    to: Annotated[ExportFormat, typer.Option("--to", help="Format to write.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.")],
    per: Annotated[Per, typer.Option(help="What a row stands for.")] = Per.layer,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write every metric of every layer and step to a file."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.analysis.export import export as write
    from accweight_core.cli import tables

    rows = write(open_analysis(analysis), out, to.value, per=per.value, overwrite=overwrite)
    document: dict[str, Any] = {"out": str(out), "to": to.value, "rows": rows}
    tables.show(document if json else f"{rows} rows written to {out}")


def _source(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names


COMMANDS = (inspect, analyze, rank, compare, align, export, metrics)
