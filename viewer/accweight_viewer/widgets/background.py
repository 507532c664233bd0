"""A loader whose values arrive on the thread of the window."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from accweight_viewer.model.loading import Loader
from accweight_viewer.widgets.bridge import Bridge

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Background(Generic[Key, Value]):
    """One thread that reads, the newest request first.

    Attributes:
        loader: The loader itself.
    """

    def __init__(self, read: Callable[[Key], Value], arrived: Callable[[], object]) -> None:
        """Start.

        Args:
            read: Reads one value, called on another thread.
            arrived: Called on this thread whenever values or failures wait.
        """
        self._bridge = Bridge(arrived)
        self.loader: Loader[Key, Value] = Loader(read, self._bridge.call)

    def values(self) -> Iterator[tuple[Key, Value]]:
        """Yield what has arrived."""
        while (found := self.loader.take()) is not None:
            yield found

    @property
    def idle(self) -> bool:
        """Whether nothing is requested, under way, or waiting."""
        return self.loader.idle

    def close(self) -> None:
        """Stop, after what is being read now; nothing arrives any more."""
        self._bridge.closed = True
        self.loader.close()
