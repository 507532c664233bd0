"""Screenshots and movies of the window, taken when everything visible has been loaded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from pyqtgraph.Qt import QtGui

from accweight_core.analysis.figures.film import Frame, even, frame_rate, write_frames
from accweight_core.errors import AccweightError
from accweight_viewer.model.session import Session
from accweight_viewer.model.timeline import REST_SECONDS

PATIENCE_SECONDS = 120.0


class CapturedWindow(Protocol):
    """What is needed of a window to take pictures of it."""

    session: Session
    failure: str

    @property
    def settled(self) -> bool:
        """Whether everything visible has its final resolution."""

    def process(self) -> None:
        """Process all pending events, without advancing time."""

    def grab_image(self) -> QtGui.QImage:
        """Return an image of the window."""


class CaptureError(AccweightError, RuntimeError):
    """Raised when a screenshot or a movie cannot be written."""


def screenshot(window: CapturedWindow, path: Path) -> None:
    """Write the window's contents to a PNG.

    Raises:
        CaptureError: If the file cannot be written.
    """
    settle(window)
    draft = path.with_name(f".{path.name}.partial.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = window.grab_image().save(str(draft), "PNG")
        if not written:
            raise CaptureError(f"{path}: the picture cannot be written; is the folder writable?")
        os.replace(draft, path)
    except OSError as error:
        raise CaptureError(
            f"{path}: the picture cannot be written ({error.strerror or error})"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def movie(window: CapturedWindow, path: Path, progress: Callable[[int, int], object]) -> int:
    """Write the timeline, played once at the chosen speed, to an MP4 or GIF.

    Returns:
        Number of frames.

    Raises:
        CaptureError: If the file cannot be written.
        MissingLibraryError: If the library for the format is not installed.
    """
    suffix = path.suffix.lower()
    draft = path.with_name(f".{path.name}.partial{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        count = write_frames(draft, _played(window, frame_rate(path), progress))
        os.replace(draft, path)
    except OSError as error:
        raise CaptureError(
            f"{path}: the movie cannot be written ({error.strerror or error})"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return count


def settle(window: CapturedWindow) -> None:
    """Run the event loop until everything visible has been loaded.

    Raises:
        CaptureError: If something cannot be loaded.
    """
    stop = time.monotonic() + PATIENCE_SECONDS
    while not window.settled:
        window.process()
        if window.failure:
            raise CaptureError(window.failure)
        if time.monotonic() > stop:
            raise CaptureError(f"the picture was not complete after {PATIENCE_SECONDS:.0f} s")
    window.process()


def _played(
    window: CapturedWindow, rate: int, progress: Callable[[int, int], object]
) -> Iterator[Frame]:
    """Yield the frames of one pass through the timeline, with a pause at its end."""
    session = window.session
    session.move_to(0)
    seconds = session.cursor.last / session.settings.speed
    moving = max(1, round(seconds * rate))
    total = moving + round(REST_SECONDS * rate)
    session.cursor.playing = True
    for frame in range(total):
        at = min(frame / moving, 1.0) * session.cursor.last
        session.show_between(int(at), at - int(at))
        settle(window)
        progress(frame, total)
        yield _pixels(window.grab_image())
    session.pause()
    progress(total, total)


def _pixels(image: QtGui.QImage) -> Frame:
    """Return (rows, columns, 3) with even sizes, as common video formats need for chroma."""
    rgb = image.convertToFormat(QtGui.QImage.Format.Format_RGB888)
    bits = rgb.constBits()
    if hasattr(bits, "setsize"):  # PyQt returns a pointer, PySide a buffer
        bits.setsize(rgb.sizeInBytes())
    lines = np.frombuffer(bits, np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    pixels = lines[:, : rgb.width() * 3].reshape(rgb.height(), rgb.width(), 3)
    return even(pixels).copy()
