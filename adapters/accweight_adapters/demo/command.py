"""``accweight demo``: train the reference CNN on real digits, analyse it, open the viewer.

It needs scikit-learn and matplotlib, which nothing else here does; both are imported when the
command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accweight_core.text import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from accweight_adapters.demo.experiment import DemoResult


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the MNIST idx files; digits by default.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints, analysis and pictures.")
    ] = Path("demo"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs to train.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    view: Annotated[
        bool | None,
        typer.Option("--view/--no-view", help="Open the viewer; where somebody can see it."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train a small CNN on real digits, analyse it, draw all its layers, open the viewer."""
    from accweight_adapters.demo.experiment import run_demo
    from accweight_core.cli import tables
    from accweight_core.cli.viewing import is_watched, opened_viewer

    with tables.progress("train", unit="epochs") as advance:
        result = run_demo(data=data, out=out, epochs=epochs, seed=seed, progress=advance)
    tables.show(_document(result) if json else _summary(result))
    stored = result.analysis.path
    if stored and (view or (view is None and not json and is_watched())):
        opened_viewer(stored)


def _document(result: DemoResult) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    from accweight_core.cli.tables import analysis_json

    return {
        **analysis_json(result.analysis, "mean"),
        "accuracy": result.accuracy,
        "checkpoint_folder": str(result.checkpoints),
        "contact_sheet": str(result.sheet),
    }


def _summary(result: DemoResult) -> RenderableType:
    """Return what is printed."""
    from rich.console import Group
    from rich.text import Text

    from accweight_core.cli.tables import analysis_summary

    return Group(
        Text(f"trained on {result.data}: accuracy {result.accuracy[-1]:.1%} on unseen digits"),
        analysis_summary(result.analysis, "mean"),
        Text(f"all layers over the epochs: {plain(result.sheet)}"),
    )
