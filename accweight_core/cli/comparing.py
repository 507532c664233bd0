"""The commands that put two runs side by side: their rankings, and their layers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.schema import Run

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Map = Annotated[
    Path | None, typer.Option("--map", help="Map file that says which layers belong together.")
]


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
    a: Annotated[Path, typer.Argument(help="An analysis (NAME.accw).")],
    b: Annotated[Path, typer.Argument(help="Another one, of any format, width or depth.")],
    by: Annotated[str, typer.Option("--by", help="Metric to rank by.")] = "mean",
    map: Map = None,
    values: Values = WhenValues.auto,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare the rankings of two analyses, layer by layer."""
    from accweight_core.alignment.comparison import compare as compared
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli import alignments, tables

    result = compared(open_analysis(a), open_analysis(b), by, map=map, values=values.value)
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
    debug: Debug = False,
) -> None:
    """Match the layers of two runs: by name, place, shape and values. Says how sure each is."""
    from accweight_core.alignment.alignment import align as aligned
    from accweight_core.alignment.map_template import write_alignment
    from accweight_core.cli import alignments, tables

    left, right = _opened(a), _opened(b)
    result = aligned(left, right, map=map, values=values.value)
    if out:
        tables.remark(write_alignment(out, left, right, result))
    document = {"a": a, "b": b, **result.to_json(), **({"map": str(out)} if out else {})}
    tables.show(document if json else alignments.alignment(result, a, b))


def _opened(name: str) -> Run | Analysis:
    """Return what a name stands for: a stored analysis, or the largest run of a source."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.runs.opening import open_run

    if name.rstrip("/").endswith(".accw"):
        return open_analysis(name)
    return open_run(name, group="largest")
