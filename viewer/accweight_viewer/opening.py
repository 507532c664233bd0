"""Open the window for some analyses; used by the command, tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accweight_core.errors import AccweightError
from accweight_viewer import display
from accweight_viewer.model.session import Session

if TYPE_CHECKING:
    from accweight_viewer.window import MainWindow

TEXTURE_BYTES = 256 << 20
"""Default graphics memory for textures."""

OFFSET = 40
"""Pixels by which a window that is opened from another one is shifted."""

SMOOTH_SAMPLES = 4
"""Samples per pixel for antialiasing; with software rendering only for screenshots and movies."""


def opened_window(
    paths: Sequence[Path],
    size: tuple[int, int],
    chosen: Mapping[str, Any] | None = None,
    *,
    budget_bytes: int = TEXTURE_BYTES,
    bare: bool = False,
    capturing: bool = False,
    difference: bool = False,
    remember: bool = False,
    data: Path | None = None,
) -> MainWindow:
    """Return the viewer's window, shown.

    Args:
        paths: One analysis, or two.
        size: Width and height of the window.
        chosen: Settings that override the defaults or the saved ones.
        budget_bytes: Graphics memory for textures.
        bare: Whether to show the scene only.
        capturing: Whether a screenshot or movie is made: a virtual screen is sufficient, and
            time stands still.
        difference: Whether to start with the difference of two analyses.
        remember: Whether to load and save settings.
        data: File or folder of the samples that probes were shown.

    Raises:
        StoreError: If there is no analysis at a path.
        UnknownNameError: If a metric of a probe is chosen that no analysis has.
        SourceError: If there are no samples at `data`.
        FormatError: If they cannot be read.
        DisplayError: If there is no usable display.
    """
    session = Session(paths)  # report a wrong path before a window opens
    named = _with_whole_names(session, dict(chosen or {}))
    if data is not None:
        from accweight_viewer.model.given_samples import GivenSamples  # with readers of samples

        session.given = GivenSamples.read(data)
    display.need_display(*size, virtual=capturing)
    application = display.application()
    application.setApplicationName("accweight")
    found = display.graphics()

    from accweight_viewer.preferences import Preferences
    from accweight_viewer.window import MainWindow

    display.smooth_edges(SMOOTH_SAMPLES if capturing or not found.software else 0)
    preferences = Preferences() if remember else None
    if preferences is not None:
        session.settings = preferences.settings()
        preferences.keep_recent(paths)
    session.settings = session.settings.changed(**named)
    if difference:
        session.comparison = "difference"
    window = MainWindow(
        session,
        size=size,
        budget_bytes=budget_bytes,
        preferences=preferences,
        bare=bare,
        capturing=capturing,
    )
    beside: list[MainWindow] = []

    def open_beside(others: Sequence[Path]) -> None:
        try:
            other = opened_window(others, size, budget_bytes=budget_bytes, remember=remember)
        except AccweightError as error:  # removed meanwhile
            window.status.show_failure(str(error))
            return
        other.move(window.x() + OFFSET, window.y() + OFFSET)
        beside.append(other)

    session.open_asked.connect(open_beside)
    window.show()
    return window


def _with_whole_names(session: Session, chosen: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which metrics of probes have the names that the analysis has for them.

    Raises:
        UnknownNameError: If no analysis has one.
    """
    known = session.probes.known
    if "columns" in chosen:
        chosen["columns"] = tuple(dict.fromkeys(map(known, chosen["columns"])))
    if "curve_metric" in chosen:
        chosen["curve_metric"] = known(chosen["curve_metric"])
    return chosen
