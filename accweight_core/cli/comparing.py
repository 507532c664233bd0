"""The commands that compare two runs: `compare` for rankings, `align` for layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.alignment.alignment import Values

OTHER = "Another one, of any format, width or depth."

values_option = click.option(
    "--values",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Compare weights of a common step: auto for ambiguous names only, always, or never.",
)


@click.command()
@click.argument("a", help="An analysis (NAME.accw), or one checkpoint.")
@click.argument("b", help=OTHER)
@options.metric
@options.map_file
@values_option
@options.as_json
def compare(
    a: str, b: str, by: str | None, map: Path | None, values: Values, *, json: bool
) -> None:
    """Compare the rankings of two analyses, layer by layer; or two checkpoints, as one change."""
    from accweight_core.alignment.comparison import compare as compared
    from accweight_core.cli import alignments, output, pairs

    if pairs.are_checkpoints(a, b):
        change = pairs.change_between(a, b, by, map)
        output.remark(*change.header.notes)
        output.show(pairs.pair_json(change, a, b, by) if json else pairs.pair(change, a, b, by))
        return
    result = compared(a, b, by, map=map, values=values)
    output.show(alignments.comparison_json(result) if json else alignments.comparison(result, a, b))


@click.command()
@click.argument("a", help="An analysis (NAME.accw), or a source of checkpoints.")
@click.argument("b", help=OTHER)
@click.option("-o", "--out", type=options.OUT, help="Write the matches as a map file.")
@options.map_file
@values_option
@options.as_json
def align(a: str, b: str, out: str | None, map: Path | None, values: Values, *, json: bool) -> None:
    """Match the layers of two runs by name, position, shape and values, with a confidence each."""
    from accweight_core.alignment.alignment import align as aligned
    from accweight_core.alignment.alignment import side_at
    from accweight_core.alignment.map_template import write_alignment
    from accweight_core.cli import alignments, output

    left, right = side_at(a), side_at(b)
    result = aligned(left, right, map=map, values=values)
    if out is not None:
        output.remark(write_alignment(out, left, right, result))
    document = {"a": a, "b": b, **result.to_json(), **({"map": out} if out else {})}
    output.show(document if json else alignments.alignment(result, a, b))
