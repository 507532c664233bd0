"""``accweight demo``: train the reference CNN on real digits, analyse it, open the viewer.

It needs torch, scikit-learn and matplotlib, which files do not: they are an extra, and imported
when the command runs.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accweight_core.cli.options import AsJson
from accweight_core.errors import AccweightError, MissingLibraryError
from accweight_core.text import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from accweight_adapters.demo.experiment import DemoResult

NEEDED = {"torch": "torch", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""What the extra `demo` brings, by the name to import; the digits come with scikit-learn."""


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
    json: AsJson = False,
) -> None:
    """Train a small CNN on real digits, analyse it, draw all its layers, open the viewer."""
    _check_libraries(needs_digits=data is None)
    from accweight_adapters.demo.experiment import run_demo
    from accweight_core.cli import tables
    from accweight_core.cli.viewing import is_watched, opened_viewer

    with tables.progress("train", unit="epochs") as advance:
        result = run_demo(data=data, out=out, epochs=epochs, seed=seed, progress=advance)
    tables.show(_document(result) if json else _summary(result))
    stored = result.analysis.path
    if stored and view:
        opened_viewer(stored)
    elif stored and view is None and not json and is_watched():
        try:
            opened_viewer(stored)
        except AccweightError as error:  # nobody asked for it, and the rest is done
            typer.echo(f"accweight: {error}", err=True)


def _check_libraries(*, needs_digits: bool) -> None:
    """Raise for a library that is missing, before anything is trained."""
    for module, library in NEEDED.items():
        if module == "sklearn" and not needs_digits:
            continue
        try:
            import_module(module)
        except ImportError:
            raise MissingLibraryError(library, "demo", "the demonstration") from None


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
