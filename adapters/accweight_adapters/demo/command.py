"""``accweight demo``: train the reference CNN on real digits, analyse it, open the viewer.

With ``--gallery``: train small networks with planted truths, and write a page of what systems that
people learned from show of them. Both need the extra `demo`, and import what it has when the
command runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.errors import AccweightError, MissingLibraryError
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_adapters.demo.experiment import DemoResult
    from accweight_adapters.demo.gallery.system import System, Truth
    from accweight_core.cli.output import Page

NEEDED = {"torch": "torch", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""Packages of the extra `demo`, by import name; scikit-learn has the digits."""

FOR_GALLERY = {
    "jinja2": "jinja2", "PIL": "pillow", "tensorboardX": "tensorboardX",
    "sklearn": "scikit-learn", "torch": "torch",
}  # fmt: skip
"""What the gallery and its commands need of that extra; what is imported fast comes first."""


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
    help="Open the viewer; by default if there is a screen.",
)
@click.option(
    "--gallery",
    is_flag=True,
    help="Train small networks instead, and write one page of what known systems of visual "
    "analytics show of them: a tutorial with tests.",
)
@options.as_json
def demo(
    data: Path | None,
    out: Path,
    epochs: int | None,
    seed: int,
    *,
    view: bool | None,
    gallery: bool,
    json: bool,
) -> None:
    """Train a small CNN on real digits, analyse it, draw all its layers, open the viewer."""
    if gallery:
        given = {"--data": data, "--epochs": epochs, "--view": view}
        other = [name for name, value in given.items() if value not in (None, False)]
        if other:
            raise click.UsageError(f"--gallery takes no {other[0]}: it trains networks of its own")
        _make_gallery(out, seed, json=json)
        return
    _check_libraries(but=() if data is None else ("sklearn",))
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
        except AccweightError as error:  # opened by default, and all else is done
            click.echo(f"accweight: {error}", err=True)


def _make_gallery(out: Path, seed: int, *, json: bool) -> None:
    """Make the gallery, and say where it is and what was found."""
    _check_libraries(needed=FOR_GALLERY, what="the gallery")
    from accweight_adapters.demo.gallery.building import make_gallery
    from accweight_core.cli import output

    tell = output.remark if json else output.show
    with output.progress("gallery", unit="networks") as advance:
        made = make_gallery(
            out, seed=seed, progress=advance, on_system=lambda *found: tell(_answer(*found))
        )
    document = {"page": str(made.page), "folder": str(made.made.home), "seed": seed,
                "systems": made.numbers}  # fmt: skip
    output.show(document if json else f"open in a browser, also offline: {plain(made.page)}")


def _check_libraries(
    but: Iterable[str] = (),
    needed: Mapping[str, str] = NEEDED,
    what: str = "the demonstration",
) -> None:
    """Raise if a library is missing, before training starts."""
    for module, library in needed.items():
        if module in but:
            continue
        try:
            import_module(module)
        except ImportError:
            raise MissingLibraryError(library, "demo", what) from None


def _document(result: DemoResult) -> dict[str, Any]:
    """Return the document for ``--json``."""
    from accweight_core.cli.rankings import analysis_json

    return {
        **analysis_json(result.analysis, "mean"),
        "accuracy": result.accuracy,
        "checkpoint_folder": str(result.checkpoints),
        "contact_sheet": str(result.sheet),
    }


def _summary(result: DemoResult) -> Page:
    """Return the printed summary."""
    from accweight_core.cli.rankings import analysis_summary

    return [
        f"trained on {result.data}: accuracy {result.accuracy[-1]:.1%} on unseen digits",
        *analysis_summary(result.analysis, "mean"),
        f"all layers over the epochs: {plain(result.sheet)}",
    ]


def _answer(system: System, truths: Sequence[Truth]) -> str:
    """Return what is said of a system when it is done: what was found, and what differs."""
    held = sum(truth.holds for truth in truths)
    told = [f"{system.title}: {held} of {len(truths)} planted truths found"]
    told += [
        f"{truth.what}: planted {truth.planted}, found {truth.found}"
        for truth in truths
        if not truth.holds
    ]
    return "; ".join(told)
