"""Movies from frames: MP4 by PyAV, GIF by Pillow; of the viewer's time line and of probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accweight_core.errors import MissingLibraryError, UnknownNameError
from accweight_core.io.target import replaced_whole

Frame = npt.NDArray[np.uint8]
"""(rows, columns, 3)."""

FRAMES_PER_SECOND = {".mp4": 30, ".gif": 15}
"""By the ending of the file."""


def frame_rate(path: Path) -> int:
    """Return the frames per second of a movie.

    Raises:
        UnknownNameError: If movies are not written under such a name.
    """
    try:
        return FRAMES_PER_SECOND[path.suffix.lower()]
    except KeyError:
        raise UnknownNameError(
            f"{path}: a movie ends in {' or '.join(FRAMES_PER_SECOND)}"
        ) from None


def even(frame: Frame) -> Frame:
    """Return a frame with even sizes, as common video formats need for chroma."""
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


def write_frames(path: Path, frames: Iterator[Frame]) -> int:
    """Write a movie of the format that the name asks for; return the number of frames.

    Args:
        path: The file; it is replaced.
        frames: Its frames, of one even size.

    Raises:
        MissingLibraryError: If the library for the format is not installed.
        OSError: If the file cannot be written.
        UnknownNameError: If movies are not written under such a name.
    """
    rate = frame_rate(path)
    is_gif = path.suffix.lower() == ".gif"
    return _write_gif(path, frames, rate) if is_gif else _write_mp4(path, frames, rate)


def write_movie(
    path: Path,
    frames: Iterable[tuple[Frame, float]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    overwrite: bool = False,
) -> int:
    """Write a movie, whole or not at all; return the number of frames.

    Args:
        path: The file.
        frames: Its frames, each with the share of the movie that is over then.
        progress: Called with thousandths done, and a thousand.
        overwrite: Replace an existing file.

    Raises:
        MissingLibraryError: If the library for the format is not installed.
        StoreError: If the file exists or cannot be written.
        UnknownNameError: If movies are not written under such a name.
    """
    frame_rate(path)

    def told() -> Iterator[Frame]:
        for frame, share in frames:
            progress(round(share * 1000), 1000)
            yield frame

    with replaced_whole(path, overwrite=overwrite) as draft:
        movie = draft.with_name(f"{draft.name}{path.suffix.lower()}")  # which says the format
        try:
            count = write_frames(movie, told())
            movie.replace(draft)
        finally:
            movie.unlink(missing_ok=True)
    return count


def check_can_write(path: Path) -> None:
    """Raise unless a movie can be written under a name, before any work is done.

    Raises:
        MissingLibraryError: If the library for the format is not installed.
        UnknownNameError: If movies are not written under such a name.
    """
    frame_rate(path)
    try:
        if path.suffix.lower() == ".gif":
            import PIL.Image  # noqa: F401
        else:
            import av  # noqa: F401
    except ImportError:
        raise _missing(path) from None


def _missing(path: Path) -> MissingLibraryError:
    if path.suffix.lower() == ".gif":
        return MissingLibraryError("Pillow", "viewer", "a GIF")
    return MissingLibraryError("PyAV", "movie", "an MP4, unlike a GIF,")


def _write_mp4(path: Path, frames: Iterator[Frame], rate: int) -> int:
    try:
        import av
    except ImportError:
        raise _missing(path) from None
    count = 0
    # a relative name such as run:1.mp4 would be parsed as a URL
    with av.open(str(path.absolute()), "w") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
            count += 1
        if stream is not None:
            for packet in stream.encode():
                container.mux(packet)
    return count


def _write_gif(path: Path, frames: Iterator[Frame], rate: int) -> int:
    try:
        from PIL import Image
    except ImportError:
        raise _missing(path) from None
    pictures = [Image.fromarray(frame).quantize(128, dither=Image.Dither.NONE) for frame in frames]
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / rate),
        loop=0,
        optimize=True,
    )
    return len(pictures)
