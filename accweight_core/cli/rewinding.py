"""The command that puts back one layer at a time, and says what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.cli.model_checks import constants, unused
from accweight_core.cli.probing import network_at, run_of, takes_samples

if TYPE_CHECKING:
    from accweight_core.runs.selection import Selection


@click.command()
@click.argument(
    "source", nargs=-1, required=True, metavar="SOURCE...",
    help="An analysis (NAME.accw), or checkpoints.",
)  # fmt: skip
@click.option(
    "--model", type=options.FILE, required=True, metavar="FILE", help="ONNX file of the network."
)
@click.option(
    "--metric", type=click.Choice(["loss", "accuracy", "mse"]),
    help="What is lost: loss (by default), accuracy, or mse for the mean squared error.",
)  # fmt: skip
@click.option(
    "--steps", metavar="WHICH",
    help="Steps to put layers back to: first, all, every:N, last:N, numbers; comma-separated. By "
    "default five, evenly spaced from the first on.",
)  # fmt: skip
@click.option(
    "--draws", type=click.IntRange(min=0), default=1, show_default=True, metavar="N",
    help="Random draws per layer.",
)  # fmt: skip
@click.option(
    "--statistics", type=click.IntRange(min=0), default=1024, show_default=True, metavar="N",
    help="Samples on which the statistics of batch norm are computed anew; 0 to keep them.",
)  # fmt: skip
@takes_samples
@constants
@unused
@options.takes_selection_without_model
@options.as_json
def rewind(
    source: tuple[str, ...],
    model: Path,
    metric: str | None,
    steps: str | None,
    draws: int,
    statistics: int,
    engine: str,
    device: str,
    resize: str | None,
    selection: Selection,
    *,
    json: bool,
    **how: Any,
) -> None:
    """Put back one layer at a time, and measure what is lost: how much its training mattered."""
    from accweight_core.cli import output, rewinds
    from accweight_core.cli.probes import doubts
    from accweight_core.probes.rewinding.rewind import Rewind, usual_steps
    from accweight_core.probes.running import analysis_of
    from accweight_core.probes.running import probe as evaluate
    from accweight_core.samples.opening import size_of

    given = run_of(source, selection)
    chosen = list(usual_steps(given.steps)) if steps is None else steps
    wanted = Rewind("mse" if metric == "mse" else "auto", draws, statistics)
    how["resize"] = None if resize is None else size_of(resize)
    analysis = analysis_of(given, how.pop("out"))
    network = network_at(model, engine, device)
    with output.progress("rewind", "layers") as advance:
        found = evaluate(
            analysis,
            network,
            how.pop("data"),
            wanted,
            steps=chosen,
            progress=advance,
            notice=output.remark,
            **how,
        )["rewind"]
    output.warn(*doubts(found))
    shown = rewinds.Shown.of(analysis, found, metric, how["seed"])
    output.show(shown.to_json() if json else shown.page())
