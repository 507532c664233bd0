"""The command that writes figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.analysis.figures.page import Drawing

TAKES = {
    "ranking": ("by", "at", "top"),
    "curves": ("by", "top"),
    "heatmap": ("by",),
    "layers": ("at", "top"),
}
"""The figures, and the options that each takes."""


@click.command()
@options.analysis
@click.argument("figure", type=click.Choice(list(TAKES)), help="What to draw.")
@click.option(
    "-o", "--out", required=True, type=options.OUT, help="File to write: .png, .svg or .pdf."
)
@options.metric
@options.step
@click.option(
    "--top", type=options.AT_LEAST_ONE, metavar="N", help="Draw only N layers; name N curves."
)
@options.overwrite
@options.as_json
def plot(
    analysis: Path,
    figure: str,
    out: str,
    by: str | None,
    at: int | None,
    top: int | None,
    *,
    overwrite: bool,
    json: bool,
) -> None:
    """Draw the ranking, the curves over the steps, a heatmap, or the layers as pictures."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.analysis.figures.plots import ending_of, write_figure
    from accweight_core.cli import output

    _check_options(figure)
    ending_of(Path(out))
    drawn = _drawn(open_analysis(analysis), figure, by, at, top)
    path = write_figure(drawn, out, overwrite=overwrite)
    document: dict[str, Any] = {"out": str(path), "figure": figure}
    output.show(document if json else f"{figure} written to {path}")


def _check_options(figure: str) -> None:
    """Raise if an option was given that the figure has no use for."""
    context = click.get_current_context()
    for name in ("by", "at", "top"):
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in TAKES[figure]:
            taking = [other for other, taken in TAKES.items() if name in taken]
            raise click.BadParameter(
                f"--{name} says nothing about {figure}; it is for {', '.join(taking)}"
            )


def _drawn(
    analysis: Analysis, figure: str, by: str | None, step: int | None, top: int | None
) -> Drawing:
    if figure == "ranking":
        return analysis.plot.ranking(by, step, top=top)
    if figure == "curves":
        return analysis.plot.curves(by, top=top)
    if figure == "heatmap":
        return analysis.plot.heatmap(by)
    return analysis.plot.layers(step, top=top)
