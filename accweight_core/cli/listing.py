"""The command that lists what can be asked: the metrics."""

from __future__ import annotations

from typing import Annotated

import typer

from accweight_core.cli.options import AsJson


def metrics(
    json: AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as the docs have it.")
    ] = False,
) -> None:
    """List every metric: what it is, its unit, and how to read it."""
    from accweight_core.cli import tables
    from accweight_core.metrics.table import TABLE, as_markdown

    if markdown:
        typer.echo(as_markdown(), nl=False)
        return
    rows = [
        {"name": m.name, "line": m.line, "unit": m.unit, "reading": m.reading, "sums": m.sums}
        for m in TABLE.values()
    ]
    if json:
        tables.show({"metrics": rows})
        return
    width = max(len(name) for name in TABLE)
    for m in TABLE.values():
        typer.echo(f"{m.name:{width}}  {m.line}; unit: {m.unit}")
        typer.echo(f"{'':{width}}  {m.reading}")
