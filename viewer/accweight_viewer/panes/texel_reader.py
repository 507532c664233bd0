"""Values of texels under the mouse, read in the background and kept.

Files may be slow, far away, or busy: nothing is read on the thread of the window.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accweight_core.text import plain
from accweight_viewer.model.plates import Plate, PlateSource
from accweight_viewer.model.settings import Scope
from accweight_viewer.model.texels import AnyValue, value_at
from accweight_viewer.widgets.background import Background

MOST_KEPT = 4096
"""Values kept: those of the way of the mouse, and of the steps that were shown."""


@dataclass(frozen=True, eq=False)
class TexelRequest:
    """One texel at one checkpoint."""

    source: PlateSource
    plate: Plate
    position: int
    row: int
    col: int
    scope: Scope

    @property
    def _key(self) -> tuple[Any, ...]:
        """Key for comparison; comparing whole plates would be slow."""
        source = self.source, self.source.revision, self.plate.number
        return *source, self.position, self.row, self.col, self.scope

    def __eq__(self, other: object) -> bool:
        """Tell whether both requests have the same result."""
        return isinstance(other, TexelRequest) and self._key == other._key

    def __hash__(self) -> int:
        """Return a hash of the key."""
        return hash(self._key)

    def read(self) -> AnyValue | None:
        """Return the stored value; None if the source has none.

        Raises:
            StoreError: If the picture cannot be read.
        """
        source, at = self.source, self.position
        return value_at(source, self.plate, at, self.row, self.col, self.scope)


class TexelReader:
    """Reads the texel that is asked for last."""

    def __init__(self, arrived: Callable[[], object]) -> None:
        """Start the thread.

        Args:
            arrived: Called on this thread when a value or an error has come.
        """
        self._arrived = arrived
        self._kept: OrderedDict[TexelRequest, AnyValue | None] = OrderedDict()
        self._background: Background[TexelRequest, AnyValue | None] = Background(
            TexelRequest.read, self._collect
        )

    def value(self, request: TexelRequest) -> AnyValue | None:
        """Return a value, or None if it is not known yet; it is then read."""
        if request in self._kept:
            self._kept.move_to_end(request)
            return self._kept[request]
        self._background.loader.request([request])
        return None

    def is_known(self, request: TexelRequest) -> bool:
        """Tell whether a value has been read."""
        return request in self._kept

    def problem(self, request: TexelRequest) -> str:
        """Return why a value cannot be read; empty if it can, or is not known yet."""
        error = self._background.loader.failures.get(request)
        return "" if error is None else plain(error)

    @property
    def idle(self) -> bool:
        """Whether nothing is being read."""
        return self._background.idle

    def close(self) -> None:
        """Stop."""
        self._background.close()

    def _collect(self) -> None:
        for request, value in self._background.values():
            self._kept[request] = value
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._arrived()
