"""The command that writes a report: `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.reports.report import Form


@click.command()
@click.argument(
    "analyses",
    type=options.FILE,
    nargs=-1,
    required=True,
    metavar="ANALYSIS...",
    help="One analysis (NAME.accw), or several to be compared.",
)
@click.option("-o", "--out", required=True, type=options.OUT, help="File to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "md", "json"]),
    default="html",
    show_default=True,
    help="One page that opens in any browser, without a network; or Markdown; or all values.",
)
@options.metric
@options.overwrite
@options.as_json
def report(
    analyses: tuple[Path, ...],
    out: str,
    form: Form,
    by: str | None,
    *,
    overwrite: bool,
    json: bool,
) -> None:
    """Write a report to send: ranking, curves, pictures, comparison, and how to read them."""
    from accweight_core.cli import output
    from accweight_core.reports.report import report as write
    from accweight_core.text import size

    path = write(*analyses, out=out, form=form, by=by, overwrite=overwrite)
    size_bytes = path.stat().st_size
    document = {"out": str(path), "format": form, "size_bytes": size_bytes}
    output.show(document if json else f"report written to {path} ({size(size_bytes)})")
