"""A loader whose results arrive on the thread of the window."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from accweight_viewer.model.loading import Loader
from accweight_viewer.widgets.bridge import Bridge

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Background(Generic[Key, Value]):
    """One loading thread, newest request first.

    Attributes:
        loader: The loader.
    """

    def __init__(self, read: Callable[[Key], Value], arrived: Callable[[], object]) -> None:
        """Start the thread.

        Args:
            read: Reads one value; called on the loading thread.
            arrived: Called on this thread when values or failures are available.
        """
        self._bridge = Bridge(arrived)
        self.loader: Loader[Key, Value] = Loader(read, self._bridge.call)

    def values(self) -> Iterator[tuple[Key, Value]]:
        """Yield the loaded values."""
        while (found := self.loader.take()) is not None:
            yield found

    @property
    def idle(self) -> bool:
        """Whether no request is pending, in progress, or waiting to be taken."""
        return self.loader.idle

    def close(self) -> None:
        """Stop after the read in progress; no value arrives afterwards."""
        self._bridge.closed = True
        self.loader.close()
