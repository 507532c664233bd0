"""What is taken of a source, and how it is read: the options that opening and inspecting share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accweight_core.arguments import checked_path
from accweight_core.errors import ArgumentTypeError
from accweight_core.runs.name_map import NameMap, as_map


@dataclass(frozen=True)
class Selection:
    """Which checkpoints and parameters of a source make a run.

    Attributes:
        reader: Name of the reader; by content if None.
        model: An ONNX model of the same network, which supplies kinds and network order.
        skip: Patterns of parameter names to leave out.
        exclude: Patterns of file names to leave out.
        group: Which group of checkpoints to take when they hold different parameters: its
            number as `inspect` lists them, or "largest".
        in_given_order: Whether files are taken in the order given, whatever their names say.
        map: What parameters are called, where checkpoints differ in that.
        storage_options: What fsspec opens the file systems of URLs with; never printed, since
            keys may be among them.
        mixed: Whether files of several formats may be one run; with a map they may.
    """

    reader: str | None = None
    model: str | os.PathLike[str] | None = None
    skip: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    group: int | str | None = None
    in_given_order: bool = False
    map: NameMap | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    mixed: bool = False

    @classmethod
    def of(
        cls,
        *,
        reader: str | None = None,
        model: str | os.PathLike[str] | None = None,
        skip: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        group: int | str | None = None,
        in_given_order: bool = False,
        map: NameMap | str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Selection:
        """Return a selection from options as people give them.

        A single pattern may be plain text, and the map the file to read it from.

        Raises:
            FormatError: If the map file is damaged.
            SourceError: If the map file is not there.
        """
        name_map = as_map(map)
        if reader is not None and not isinstance(reader, str):
            raise ArgumentTypeError(f"a reader is given by name, got {type(reader).__name__}")
        if model is not None:
            checked_path(model, "a model")
        options: Any = storage_options
        if options is not None and not isinstance(options, Mapping):
            raise ArgumentTypeError(f"storage options are a mapping, got {type(options).__name__}")
        return cls(
            reader=reader,
            model=model,
            skip=_patterns(skip),
            exclude=_patterns(exclude),
            group=group,
            in_given_order=in_given_order,
            map=name_map,
            storage_options=storage_options,
            mixed=name_map is not None,
        )


def _patterns(given: Any) -> tuple[str, ...]:
    """Return patterns that are given as one, several or none."""
    if given is None or isinstance(given, str):
        return () if given is None else (given,)
    patterns = tuple(given) if isinstance(given, Iterable) else (given,)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ArgumentTypeError(f"a pattern of names is text, got {type(pattern).__name__}")
    return patterns


ALL = Selection()
"""Everything that is there."""
