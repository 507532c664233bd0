"""Options that opening and inspecting a source share: which files, which parameters, how read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accweight_core.arguments import checked_path
from accweight_core.errors import ArgumentTypeError
from accweight_core.runs.name_map import NameMap, as_map

if TYPE_CHECKING:
    from accweight_core.runs.series import Series


@dataclass(frozen=True)
class Selection:
    """Options for the checkpoints and parameters that make a run.

    Attributes:
        reader: Name of the reader; chosen by the content of the files if None.
        model: An ONNX model of the same network, which supplies kinds and network order.
        skip: Patterns of parameter names to leave out.
        exclude: Patterns of file names to leave out.
        group: Group of checkpoints to use if they have different parameters: its number in
            `inspect`, or "largest".
        series: Name of the series to use if the source holds several, as `inspect` lists them.
        revisions: Pattern of the branches and tags of a repository that are its checkpoints.
        in_given_order: Whether to use the given order instead of the steps in files or names.
        map: Names of parameters that differ between checkpoints.
        storage_options: Options for fsspec's file systems; never printed, as they may include keys.
        mixed: Whether files of several formats may be one run, as with a map.
    """

    reader: str | None = None
    model: str | os.PathLike[str] | None = None
    skip: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    group: int | str | None = None
    series: str | None = None
    revisions: str | None = None
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
        series: str | Series | None = None,
        revisions: str | None = None,
        in_given_order: bool = False,
        map: NameMap | str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Selection:
        """Return a selection from the options of the API or the command line.

        A single pattern may be given as text, and a map by its file.

        Raises:
            ArgumentTypeError: If an option has a wrong type.
            FormatError: If the map file is damaged.
            SourceError: If the map file cannot be read.
        """
        name_map = as_map(map)
        if reader is not None and not isinstance(reader, str):
            raise ArgumentTypeError(f"a reader is given by name, got {type(reader).__name__}")
        name = getattr(series, "name", series)
        if name is not None and not isinstance(name, str):
            raise ArgumentTypeError(
                f"a series is a Series or its name, got {type(series).__name__}"
            )
        if revisions is not None and not isinstance(revisions, str):
            kind = type(revisions).__name__
            raise ArgumentTypeError(f"revisions are given by a pattern of names, got {kind}")
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
            series=name,
            revisions=revisions,
            in_given_order=in_given_order,
            map=name_map,
            storage_options=storage_options,
            mixed=name_map is not None,
        )


def _patterns(given: Any) -> tuple[str, ...]:
    """Return patterns that are given as one text, several or None, as a tuple."""
    if given is None or isinstance(given, str):
        return () if given is None else (given,)
    patterns = tuple(given) if isinstance(given, Iterable) else (given,)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ArgumentTypeError(f"a pattern of names is text, got {type(pattern).__name__}")
    return patterns


ALL = Selection()
"""The selection of everything."""
