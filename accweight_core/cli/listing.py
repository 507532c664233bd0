"""The command that lists the metrics."""

from __future__ import annotations

import click

from accweight_core.cli import options


@click.command()
@options.as_json
@click.option("--markdown", is_flag=True, help="Print the table as the docs have it.")
def metrics(*, json: bool, markdown: bool) -> None:
    """List all metrics with their definition, unit and meaning."""
    from accweight_core.cli import output
    from accweight_core.metrics.table import TABLE, as_markdown

    if markdown:
        click.echo(as_markdown(), nl=False)
        return
    rows = [
        {
            "name": m.name,
            "line": m.line,
            "unit": m.unit,
            "reading": m.reading,
            "evidence": m.sentence,
            "criticality": m.criticality,
            "sums": m.sums,
        }
        for m in TABLE.values()
    ]
    if json:
        output.show({"metrics": rows})
        return
    width = max(len(name) for name in TABLE)
    for m in TABLE.values():
        click.echo(f"{m.name:{width}}  {m.line}; unit: {m.unit}")
        click.echo(f"{'':{width}}  {m.reading}")
        click.echo(f"{'':{width}}  evidence {m.evidence}")
