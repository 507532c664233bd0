"""Parts of a probe's result that take minutes each, kept as soon as they are finished.

They are numbers by name, in a small file each: ``probes/NAME-DIGEST/pieces/HASH.json``. A stopped
command takes them from there. One that is damaged is computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from accweight_core.store.documents import checked, read
from accweight_core.store.files import refuse_links, write_whole

FOLDER = "pieces"

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class PieceDocument(Struct, frozen=True):
    """One piece.

    Attributes:
        key: What it is the piece of.
        values: Its numbers; None for what is not finite.
    """

    key: str
    values: dict[Name, float | None]


class ProbePieces:
    """The finished pieces of a probe."""

    def __init__(self, analysis: Path, results: Path) -> None:
        """Use the pieces beside results of an analysis."""
        self._analysis = analysis
        self._folder = results / FOLDER

    def get(self, key: str) -> dict[str, float] | None:
        """Return the numbers of a piece; None if it is not finished.

        Raises:
            StoreError: If its place leads out of the analysis.
        """
        path = self._path(key)
        refuse_links(self._analysis, str(path.relative_to(self._analysis)))
        try:
            document = checked(read(path), PieceDocument)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        if document.key != key:
            return None
        return {n: math.nan if value is None else value for n, value in document.values.items()}

    def put(self, key: str, values: Mapping[str, float]) -> None:
        """Keep the numbers of a piece; to the bit, as JSON has the shortest digits that tell."""
        path = self._path(key)
        refuse_links(self._analysis, str(path.relative_to(self._analysis)))
        self._folder.mkdir(parents=True, exist_ok=True)
        finite = {n: v if math.isfinite(v) else None for n, v in values.items()}
        write_whole(path, json.dumps({"key": key, "values": finite}, allow_nan=False).encode())

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
