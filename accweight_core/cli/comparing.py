"""The commands that put two runs side by side: their rankings, and their layers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from accweight_core.cli.options import AsJson, Map, Metric, StoredAnalysis


class WhenValues(StrEnum):
    """When weights are compared to tell layers apart."""

    auto = "auto"
    always = "always"
    never = "never"


Values = Annotated[
    WhenValues,
    typer.Option(
        help="Compare weights of a common step: where names leave a choice, or not at all."
    ),
]


def compare(
    a: StoredAnalysis,
    b: Annotated[Path, typer.Argument(help="Another one, of any format, width or depth.")],
    by: Metric = "mean",
    map: Map = None,
    values: Values = WhenValues.auto,
    json: AsJson = False,
) -> None:
    """Compare the rankings of two analyses, layer by layer."""
    from accweight_core.alignment.comparison import compare as compared
    from accweight_core.cli import alignments, tables

    result = compared(a, b, by, map=map, values=values.value)
    tables.show(alignments.comparison_json(result) if json else alignments.comparison(result, a, b))


def align(
    a: Annotated[str, typer.Argument(help="An analysis (NAME.accw), or a source of checkpoints.")],
    b: Annotated[str, typer.Argument(help="Another one, of any format, width or depth.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write the matches as a map file.")
    ] = None,
    map: Map = None,
    values: Values = WhenValues.auto,
    json: AsJson = False,
) -> None:
    """Match the layers of two runs: by name, place, shape and values. Says how sure each is."""
    from accweight_core.alignment.alignment import align as aligned
    from accweight_core.alignment.alignment import side_at
    from accweight_core.alignment.map_template import write_alignment
    from accweight_core.cli import alignments, tables

    left, right = side_at(a), side_at(b)
    result = aligned(left, right, map=map, values=values.value)
    if out:
        tables.remark(write_alignment(out, left, right, result))
    document = {"a": a, "b": b, **result.to_json(), **({"map": str(out)} if out else {})}
    tables.show(document if json else alignments.alignment(result, a, b))
