"""``accweight demo``: train the reference CNN on real digits, analyse it, open the viewer.

It needs torch, scikit-learn and matplotlib, which files do not: they are an extra, and imported
when the command runs.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.errors import AccweightError, MissingLibraryError
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_adapters.demo.experiment import DemoResult
    from accweight_core.cli.output import Page

NEEDED = {"torch": "torch", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""What the extra `demo` brings, by the name to import; the digits come with scikit-learn."""


@click.command()
@click.option(
    "--data",
    type=options.FILE,
    metavar="FOLDER",
    help="Folder with the MNIST idx files; digits by default.",
)
@click.option(
    "--out",
    type=options.FILE,
    default=Path("demo"),
    show_default=True,
    metavar="FOLDER",
    help="Folder for checkpoints, analysis and pictures.",
)
@click.option("--epochs", type=options.AT_LEAST_ONE, metavar="N", help="Epochs to train.")
@click.option(
    "--seed", default=0, show_default=True, metavar="N", help="Seed of the initial weights."
)
@click.option(
    "--view/--no-view",
    default=None,
    help="Open the viewer; where somebody can see it by default.",
)
@options.as_json
def demo(
    data: Path | None, out: Path, epochs: int | None, seed: int, *, view: bool | None, json: bool
) -> None:
    """Train a small CNN on real digits, analyse it, draw all its layers, open the viewer."""
    _check_libraries(needs_digits=data is None)
    from accweight_adapters.demo.experiment import run_demo
    from accweight_core.cli import output
    from accweight_core.cli.viewing import is_watched, opened_viewer

    with output.progress("train", unit="epochs") as advance:
        result = run_demo(data=data, out=out, epochs=epochs, seed=seed, progress=advance)
    output.show(_document(result) if json else _summary(result))
    stored = result.analysis.path
    if stored and view:
        opened_viewer(stored)
    elif stored and view is None and not json and is_watched():
        try:
            opened_viewer(stored)
        except AccweightError as error:  # nobody asked for it, and the rest is done
            click.echo(f"accweight: {error}", err=True)


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
    from accweight_core.cli.rankings import analysis_json

    return {
        **analysis_json(result.analysis, "mean"),
        "accuracy": result.accuracy,
        "checkpoint_folder": str(result.checkpoints),
        "contact_sheet": str(result.sheet),
    }


def _summary(result: DemoResult) -> Page:
    """Return what is printed."""
    from accweight_core.cli.rankings import analysis_summary

    return [
        f"trained on {result.data}: accuracy {result.accuracy[-1]:.1%} on unseen digits",
        *analysis_summary(result.analysis, "mean"),
        f"all layers over the epochs: {plain(result.sheet)}",
    ]
