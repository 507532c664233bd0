"""``accweight view``: open a window, or write a screenshot or a movie.

Qt is imported when the command runs, so --help needs no screen.
"""

from __future__ import annotations

import json as json_module
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.cli.options import parsed_size
from accweight_core.errors import AccweightError

if TYPE_CHECKING:
    from accweight_viewer.model.session import Session
    from accweight_viewer.window import MainWindow

DEFAULT_SIZE = 1600, 1000

MOST_RUNS = 8
"""Most runs on one timeline; the plates are those of the first two."""


@click.command()
@click.argument(
    "analysis",
    nargs=-1,
    type=options.FILE,
    metavar="[ANALYSIS...]",
    help="An analysis (NAME.accw), or two to compare; without one, a window to open one.",
)
@options.step
@click.option("--layer", metavar="NAME", help="Layer to show.")
@click.option(
    "--screenshot",
    type=options.OUT,
    metavar="FILE",
    help="Write a screenshot to this PNG, and exit.",
)
@click.option(
    "--movie",
    type=options.OUT,
    metavar="FILE",
    help="Write the timeline to this .mp4 or .gif, and exit.",
)
@click.option(
    "--size",
    metavar="WIDTHxHEIGHT",
    help="Size of the window; that of last time, or "
    f"{DEFAULT_SIZE[0]}x{DEFAULT_SIZE[1]}, by default.",
)
@click.option("--theme", type=click.Choice(["dark", "light"]), help="Dark or light.")
@click.option("--colours", type=click.Choice(["grey", "viridis", "magma"]), help="Colour map.")
@click.option(
    "--log/--linear",
    "logarithmic",
    default=None,
    help="Colours by the logarithm of the change.",
)
@click.option(
    "--scope",
    type=click.Choice(["global", "layer"]),
    help="Brightest colour: largest change of all layers, or of each layer.",
)
@click.option("--difference", is_flag=True, help="Show the difference of two analyses.")
@click.option("--by", metavar="METRIC", help=options.METRIC_HELP)
@click.option(
    "--weight",
    metavar="NAME[I,J,...]",
    help="Weight to select, by its parameter and index: 'fc1.weight[3, 5]'.",
)
@click.option(
    "--data",
    type=options.FILE,
    metavar="FILE",
    help="Samples that probes were shown: an .npz with x and y, an .npy, or a folder of images; "
    "points lead to them.",
)
@click.option("--bare", is_flag=True, help="Show the 3D scene only, with title, step and legend.")
@click.option(
    "--texture-memory",
    default="256M",
    show_default=True,
    metavar="SIZE",
    help="Graphics memory for textures.",
)
@options.as_json
def view(
    analysis: tuple[Path, ...],
    at: int | None,
    layer: str | None,
    screenshot: str | None,
    movie: str | None,
    size: str | None,
    texture_memory: str,
    *,
    difference: bool,
    bare: bool,
    json: bool,
    theme: str | None,
    colours: str | None,
    logarithmic: bool | None,
    scope: str | None,
    by: str | None,
    weight: str | None,
    data: Path | None,
) -> None:
    """Fly through a network while it learns: every layer in 3D, along the timeline."""
    from accweight_viewer.model.settings import Settings
    from accweight_viewer.opening import opened_window

    picked = None if weight is None else _parsed_weight(weight)
    asked = None if size is None else _parsed_window(size)
    budget = parsed_size(texture_memory)
    if len(analysis) > MOST_RUNS:
        raise click.BadParameter(f"at most {MOST_RUNS} analyses are shown, got {len(analysis)}")
    if difference and len(analysis) != 2:
        raise click.BadParameter("--difference needs two analyses")
    picture = _checked_out(screenshot, "a screenshot", {".png": "a PNG"})
    film = _checked_out(movie, "a movie", {".mp4": "an MP4", ".gif": "a GIF"})
    chosen = {
        "theme": theme,
        "colour_map": colours,
        "logarithmic": logarithmic,
        "scope": scope,
        "columns": by and tuple(dict.fromkeys([by, *Settings().columns])),
        "curve_metric": by,
    }
    capturing = picture is not None or film is not None

    def opened(paths: Sequence[Path]) -> MainWindow:
        return opened_window(
            list(paths),
            asked or DEFAULT_SIZE,
            {name: value for name, value in chosen.items() if value is not None},
            budget_bytes=budget,
            bare=bare,
            capturing=capturing,
            difference=difference,
            remember=not capturing,
            data=data,
        )

    if not analysis:
        if capturing or at is not None or layer is not None:
            raise click.UsageError("name an analysis (NAME.accw) to show")
        _start(opened)
        return
    window = opened(analysis)
    if asked is not None:
        window.resize(*asked)  # overrides the saved size
    _go_to(window, at, layer, picked)
    if not capturing:
        _run(window)
        return
    written = _capture(window, picture, film)
    window.close()
    if json:
        sys.stdout.write(json_module.dumps(written) + "\n")
    else:
        for path in (picture, film):
            if path is not None:
                sys.stdout.write(f"{path}\n")


def _start(opened: Callable[[Sequence[Path]], MainWindow]) -> None:
    """Show a window to open an analysis with, then the analysis."""
    from accweight_viewer import display

    display.need_display(*DEFAULT_SIZE, virtual=False)
    application = display.application()
    application.setApplicationName("accweight")

    from accweight_viewer.preferences import Preferences
    from accweight_viewer.start import StartWindow

    window = StartWindow(lambda path: opened([path]), Preferences())
    window.show()
    application.exec()


def _go_to(
    window: MainWindow,
    at: int | None,
    layer: str | None,
    picked: tuple[str, tuple[int, ...]] | None,
) -> None:
    from accweight_viewer.model.picking import pick_of

    session: Session = window.session
    if at is not None:
        session.move_to_step(at)
    window.process()
    if layer is not None:
        session.jump_to(layer)
    if picked is not None:
        session.select_texel(pick_of(session.runs, *picked))
        if layer is None and session.layer is not None:
            session.jump_to(session.layer)


def _run(window: MainWindow) -> None:
    """Run the event loop until the window is closed.

    A window may be closed while it is being mapped; nothing would ever end the event loop then.
    """
    from pyqtgraph.Qt import QtWidgets

    if window.closed:
        return
    window.activateWindow()
    QtWidgets.QApplication.instance().exec()


def _capture(window: MainWindow, screenshot: Path | None, movie: Path | None) -> dict[str, Any]:
    from accweight_core.cli import output
    from accweight_viewer import capture

    written: dict[str, Any] = {"step": window.session.step}
    if screenshot is not None:
        capture.screenshot(window, screenshot)
        written["screenshot"] = str(screenshot)
    if movie is not None:
        with output.progress("film", unit="frames") as advance:
            written["frames"] = capture.movie(window, movie, advance)
        written["movie"] = str(movie)
    return written


def _parsed_window(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,5})[xX](\d{2,5})", text.strip())
    if not match:
        raise click.BadParameter(f"{text!r} is not a size; expected WIDTHxHEIGHT, as 1600x1000")
    width, height = int(match[1]), int(match[2])
    if not (320 <= width <= 8192 and 240 <= height <= 8192):
        raise click.BadParameter(f"{text} is out of range; from 320x240 to 8192x8192")
    return width, height


def _parsed_weight(text: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"(.+)\[([\d\s,]*)\]", text.strip())
    if not match:
        raise click.BadParameter(
            f"{text!r} is no weight; expected NAME[I, J, ...], as fc1.weight[3, 5]"
        )
    return match[1], tuple(int(part) for part in match[2].split(",") if part.strip())


def _checked_out(name: str | None, what: str, endings: Mapping[str, str]) -> Path | None:
    """Return the path of a file to write, if one is asked for, after checking its ending."""
    from accweight_core.io.target import target_at

    if name is None:
        return None
    path = target_at(name, what)
    if path.suffix.lower() not in endings:
        formats, listed = " or ".join(endings.values()), " or ".join(endings)
        raise AccweightError(f"{path}: {what} is {formats}; end its name with {listed}")
    return path
