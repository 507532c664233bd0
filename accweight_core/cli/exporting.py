"""The command that writes numbers for other programs: tables, and runs of TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.cli.options import parsed_roles

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.analysis.summary import Per
    from accweight_core.schema import Role

TENSORBOARD, PROJECTOR = "tensorboard", "projector"


@click.command()
@click.argument(
    "analyses",
    type=options.FILE,
    nargs=-1,
    required=True,
    metavar="ANALYSIS...",
    help="An analysis (NAME.accw); for tensorboard, also several.",
)
@click.option(
    "--to",
    required=True,
    type=click.Choice(["csv", "parquet", "npz", TENSORBOARD, PROJECTOR]),
    help="Format to write.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=options.OUT,
    help="File to write, - for stdout; for tensorboard and projector, a folder.",
)
@options.metrics
@options.per_row
@options.roles("")
@options.overwrite
@options.as_json
def export(
    analyses: tuple[Path, ...],
    to: str,
    out: str,
    by: tuple[str, ...],
    per: Per,
    roles: str,
    *,
    overwrite: bool,
    json: bool,
) -> None:
    """Write every metric of every layer and step to a file, to stdout, or for TensorBoard.

    Layers count weights and embeddings, unless --roles says otherwise; --per parameter writes all
    parameters. --to tensorboard also writes histograms of the change per step, and pictures of the
    layers, and what probes have found; --by chooses its metrics. --to projector writes the samples
    of probes such as embedding as vectors, with labels and pictures, for TensorBoard's projector.
    """
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import output, rankings

    opened = [open_analysis(path) for path in analyses]
    counted = [
        parsed_roles(roles) if roles else rankings.exported_roles(analysis, per)
        for analysis in opened
    ]
    if to == TENSORBOARD:
        document = _runs(opened, out, by, per, counted, overwrite=overwrite)
        lines = [_line(run) for run in document["runs"]]
        output.show(document if json else [*lines, f"show them with: tensorboard --logdir {out}"])
        return
    if len(opened) > 1 or by:
        extra = "--by" if by else "several analyses"
        raise click.BadParameter(
            f"{to} holds one analysis with all metrics; {extra}: {TENSORBOARD}"
        )
    if to == PROJECTOR:
        _write_vectors(opened[0], out, overwrite=overwrite, json=json)
        return
    _write_table(opened[0], to, out, per, counted[0], overwrite=overwrite, json=json)


def _write_vectors(analysis: Analysis, out: str, *, overwrite: bool, json: bool) -> None:
    """Write samples as vectors, and say which."""
    from accweight_core.analysis.projector import write_projector
    from accweight_core.cli import output

    if out == "-":
        raise click.BadParameter(f"{PROJECTOR} is a folder, which stdout cannot be")
    written = write_projector(analysis, out, overwrite=overwrite)
    output.remark(*written.notes)
    document: dict[str, Any] = {
        "out": out,
        "to": PROJECTOR,
        "tensors": [
            {"name": name, "points": points}
            for name, points in zip(written.tensors, written.points, strict=True)
        ],
        "notes": list(written.notes),
    }
    lines = [
        f"{out}: {len(written.tensors)} tables of samples",
        f"show them with: tensorboard --logdir {out}",
    ]
    output.show(document if json else lines)


def _write_table(
    analysis: Analysis,
    to: str,
    out: str,
    per: Per,
    roles: tuple[Role, ...],
    *,
    overwrite: bool,
    json: bool,
) -> None:
    """Write one analysis as a table, and say how many rows there are."""
    from accweight_core.analysis.export import export as write
    from accweight_core.cli import output

    if out == "-":
        _check_stdout_is_free(to, json=json)
        rows = write(analysis, sys.stdout.buffer, to, per=per, roles=roles)
        output.remark(f"{rows} rows written to stdout")
        return
    rows = write(analysis, out, to, per=per, overwrite=overwrite, roles=roles)
    document: dict[str, Any] = {"out": out, "to": to, "rows": rows}
    output.show(document if json else f"{rows} rows written to {out}")


def _check_stdout_is_free(to: str, *, json: bool) -> None:
    """Raise if stdout is also used for JSON, or if it is a terminal and the format is binary."""
    if json:
        raise click.BadParameter("-o - and --json both write to stdout; take one of them")
    if to != "csv" and sys.stdout.isatty():
        raise click.BadParameter(
            f"{to} is binary, and stdout is a terminal; name a file, or redirect with > FILE"
        )


def _runs(
    analyses: list[Analysis],
    out: str,
    by: tuple[str, ...],
    per: Per,
    roles: list[tuple[Role, ...]],
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """Write every analysis as a run of TensorBoard, and return the document of ``--json``."""
    from accweight_core.analysis.tensorboard import write_events
    from accweight_core.cli import output
    from accweight_core.cli.outputs import safe_names

    if out == "-":
        raise click.BadParameter(f"{TENSORBOARD} is a folder of runs, which stdout cannot be")
    runs = []
    names = safe_names([analysis.shown.run for analysis in analyses])
    for analysis, counted, name in zip(analyses, roles, names, strict=True):
        with output.progress(name, unit="layers") as advance:
            written = write_events(
                analysis,
                Path(out) / name,
                metrics=by,
                per=per,
                roles=counted,
                overwrite=overwrite,
                progress=advance,
            )
        output.remark(*(f"{name}: {note}" for note in written.notes))
        runs.append(
            {
                "folder": str(written.folder),
                "scalars": written.scalars,
                "histograms": written.histograms,
                "pictures": written.pictures,
                "notes": list(written.notes),
            }
        )
    return {"out": out, "to": TENSORBOARD, "runs": runs}


def _line(run: dict[str, Any]) -> str:
    return (
        f"{run['folder']}: {run['scalars']:,} scalars, {run['histograms']:,} histograms, "
        f"{run['pictures']:,} pictures"
    )
