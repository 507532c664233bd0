"""Readers: how files of any framework get in.

A reader does two things: it recognises its format from a few bytes, and it *describes* a checkpoint
(names, shapes, byte ranges, step) without loading weights. Readers are found through the
entry-point group ``accweight.readers``; a broken plug-in causes a warning, never a crash.
`accweight_core.testing.ReaderContract` tests the rules for readers.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from accweight_core.endings import what_ending_says
from accweight_core.errors import FormatError, SourceError, reason_of
from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.schema import Description, StoredTensor
from accweight_core.text import meant

GROUP = "accweight.readers"
TAIL_BYTES = 1 << 16

Keys = tuple[str, ...]
"""Keys on the path to a leaf of a tree."""

PICKLE_MARK, PICKLE_PROTOCOLS = 0x80, range(2, 6)
LFS_MAGIC = b"version https://git-lfs"


@runtime_checkable
class Reader(Protocol):
    """Turns one file or folder into the description of a checkpoint.

    Paths may be URLs (`accweight_core.remote`). They have the names, `open("rb")`, `stat`,
    `is_file`, `iterdir` and so on of `pathlib.Path`, but no file descriptor. Files that are opened
    later, to load hidden values, are opened through the same path.
    """

    name: str
    """Short name, for ``--reader``."""

    suffixes: tuple[str, ...]
    """Suffixes of candidate files, lower case with the dot; a hint, not a proof. The empty suffix
    stands for names without one. A reader of folders may also have `marks`: names of files, or
    patterns of names with ``*``, that make their folder a checkpoint (`marks_of`); or `pieces`:
    suffixes of files that can be one parameter each of a checkpoint that is their folder
    (`pieces_of`).
    """

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is in this format, by its content; reads a few bytes at most.

        Returns False for unreadable content and never raises for it.
        """
        ...

    def describe(self, path: Path) -> Description:
        """Describe the checkpoint at `path` without reading weights or running anything in it.

        Raises:
            FormatError: If the file is truncated, corrupt, unsafe or inconsistent.
        """
        ...


@cache
def readers() -> dict[str, Reader]:
    """Return the installed readers by name."""
    found: dict[str, Reader] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            reader = point.load()()
            if not isinstance(reader, Reader):
                raise TypeError("it lacks name, suffixes, recognises or describe")
            found[point.name] = reader
        except Exception as error:  # a plug-in may fail in any way; the others must go on
            warnings.warn(f"reader {point.name!r} cannot be used: {error}", stacklevel=2)
    return found


def reader_named(name: str) -> Reader:
    """Return the reader of that name.

    Raises:
        SourceError: If there is none; the message lists the installed readers.
    """
    try:
        return readers()[name]
    except KeyError:
        known = ", ".join(readers()) or "none"
        raise SourceError(
            f"no reader is called {name!r}; {meant(name, readers())}installed readers: {known}"
        ) from None


def reader_for(path: Path) -> Reader | None:
    """Return the reader that recognises the content of `path`, or None.

    Readers with a matching suffix are tried first, so that most files are opened once.
    """
    suffix = path.suffix.lower()
    ordered = sorted(readers().values(), key=lambda reader: suffix not in reader.suffixes)
    return next((reader for reader in ordered if _recognised(reader, path)), None)


def _recognised(reader: Reader, path: Path) -> bool:
    try:
        return reader.recognises(path)
    except Exception as error:  # one plug-in must not keep the others from reading a file
        warnings.warn(f"reader {reader.name!r} failed on {path.name}: {error}", stacklevel=3)
        return False


def marks_of(reader: Reader) -> tuple[str, ...]:
    """Return names, and patterns of names, that make their folder a checkpoint of this reader."""
    marks: tuple[str, ...] = getattr(reader, "marks", ())
    return marks


def pieces_of(reader: Reader) -> tuple[str, ...]:
    """Return the suffixes of files that may be one parameter each of a folder of this reader."""
    pieces: tuple[str, ...] = getattr(reader, "pieces", ())
    return pieces


def graph_in(path: Path) -> LayerGraph | None:
    """Return the graph in a file; None if its format has none.

    A reader of files with graphs has a method `graph`, which takes the path.

    Raises:
        FormatError: If no reader recognises the file, or it is damaged.
    """
    reader = reader_for(path)
    if reader is None:
        raise unrecognised(path, "a model whose graph can be read (.onnx, or .pt2 of torch.export)")
    return _graph_by(reader, path)


def _graph_by(reader: Any, path: Path) -> LayerGraph | None:
    found: LayerGraph | None = reader.graph(path) if hasattr(reader, "graph") else None
    return found


def names_in(reader: str, shapes: Mapping[Keys, tuple[int, ...]]) -> dict[str, Keys]:
    """Return the names that a reader gives to the weights in a tree in memory, in network order.

    The reader has a method `names_in` for it.

    Args:
        reader: Name of the reader.
        shapes: Shapes of the leaves of the tree, by their keys.

    Returns:
        The keys of each parameter, by its name; what is not the model is left out.

    Raises:
        SourceError: If there are no weights.
    """
    names: dict[str, Keys] = _of_models(reader).names_in(shapes)
    return names


def _of_models(reader: str) -> Any:
    """Return a reader that also knows models in memory."""
    return reader_named(reader)


def hinted(reader: str, tensors: Sequence[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return weights in memory with what a reader knows by their names (its method `hinted`)."""
    found: tuple[StoredTensor, ...] = _of_models(reader).hinted(tensors)
    return found


def unrecognised(path: Path, wanted: str = "") -> FormatError:
    """Return the error for a file that no reader recognises, with the likeliest reason.

    Args:
        path: The file.
        wanted: What it had to be, such as "an ONNX model", where one format alone will do.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(max(0, file.seek(0, io.SEEK_END) - TAIL_BYTES))
            file.read(TAIL_BYTES)  # where zips have their directory
    except OSError as error:
        remedy = "" if wanted else f"; {_remedy(path)}"
        return FormatError(path, f"cannot be read ({reason_of(error)}){remedy}")
    if not head:
        return FormatError(path, "the file is empty (0 bytes); was the save interrupted?")
    if head.startswith(LFS_MAGIC):
        return FormatError(
            path, "this is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
        )
    if wanted:
        return FormatError(path, f"is not {wanted}{_kind_of(head)}")
    page, says = _kind_of(head), what_ending_says(path.name)
    if says and not page:
        return FormatError(path, f"no reader recognises its content; {says}; or {_remedy(path)}")
    return FormatError(
        path,
        f"no reader recognises its content{page or _read_as(path)}; "
        f"if you are sure of the format, name it with --reader, or {_remedy(path)}",
    )


def _read_as(path: Path) -> str:
    """Return which readers have files of such an ending; without any, which endings are known."""
    by_name = {r.name: [s for s in r.suffixes if s] for r in readers().values()}
    own = [name for name, ends in by_name.items() if path.name.lower().endswith(tuple(ends))]
    if own and path.suffix:
        names = ", ".join(own)
        return f" (files of this ending are read as {names}), so it is damaged or something else"
    return f" (formats known: {', '.join(sorted({s for ends in by_name.values() for s in ends}))})"


def _kind_of(head: bytes) -> str:
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return ", it is a page of HTML, such as servers send where they want a login"
    if head[0] == PICKLE_MARK and len(head) > 1 and head[1] in PICKLE_PROTOCOLS:
        return ", it is a pickle in which no weights are found"
    return ""


def _remedy(path: Path) -> str:
    return f"leave it out with --exclude '{path.name}'"
