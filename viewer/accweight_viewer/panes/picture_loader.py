"""Keeps a picture supplied: what is seen now, what lies below it, and what comes next.

Whoever moves on faster than files can be read gets the latest that has been read, in order and
never from further back: a picture that lags a little is better than one that stands still.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from accweight_viewer.model.picture_requests import Entries, PartWish
from accweight_viewer.widgets.background import Background

MOST_CACHED = 12
"""Parts kept: the steps before and after, the zoom before. A part has 1.3 MB at most."""

Show = Callable[[PartWish, Entries, bool], object]


class PartFeed:
    """Reads parts in the background and hands them out."""

    def __init__(self, show: Show, settled: Callable[[], object]) -> None:
        """Start.

        Args:
            show: Called with a part, and whether it lies below the one that is seen.
            settled: Called whenever something has arrived or failed.
        """
        self._show = show
        self._settled = settled
        self._over: PartWish | None = None
        self._under: PartWish | None = None
        self._shown: PartWish | None = None
        self._shown_below: PartWish | None = None
        self._asked: list[PartWish] = []
        self._cached: OrderedDict[PartWish, Entries] = OrderedDict()
        self._background: Background[PartWish, Entries] = Background(
            lambda wish: wish.read(), self._collect
        )

    def want(self, over: PartWish, under: PartWish, ahead: Iterable[PartWish] = ()) -> None:
        """Show these from now on.

        Args:
            over: What is seen.
            under: The whole picture, coarse: shown where nothing finer is yet.
            ahead: What will be wanted soon.
        """
        if self._over is not None and not over.alike(self._over):
            self._asked.clear()
        self._over, self._under = over, under
        self._asked.append(over)
        for wish in dict.fromkeys((under, over)):
            if wish in self._cached:
                self._hand_out(wish, self._cached[wish])
        wishes = dict.fromkeys((under, over, *ahead))
        self._background.loader.wish(wish for wish in wishes if wish not in self._cached)

    def reset(self) -> None:
        """Forget what is shown: the canvas is empty. What has been read is kept."""
        self._over = self._under = self._shown = self._shown_below = None
        self._asked.clear()
        self._background.loader.wish(())

    @property
    def late(self) -> bool:
        """Whether what is shown is not what is wanted."""
        return self._over is not None and self._shown != self._over

    @property
    def shown(self) -> PartWish | None:
        """What is shown."""
        return self._shown

    @property
    def problem(self) -> Exception | None:
        """Why what is wanted cannot be read."""
        failures = self._background.loader.failures
        found = [failures[w] for w in (self._over, self._under) if w is not None and w in failures]
        return found[0] if found else None

    @property
    def idle(self) -> bool:
        """Whether nothing is being read."""
        return self._background.idle

    def close(self) -> None:
        """Stop."""
        self._background.close()

    def _collect(self) -> None:
        for wish, entries in self._background.values():
            self._cached[wish] = entries
            while len(self._cached) > MOST_CACHED:
                self._cached.popitem(last=False)
            self._hand_out(wish, entries)
        self._settled()

    def _hand_out(self, wish: PartWish, entries: Entries) -> None:
        """Show what has been read, unless something later is shown already."""
        if wish in self._cached:
            self._cached.move_to_end(wish)
        if wish == self._under and wish != self._shown_below:
            self._shown_below = wish
            self._show(wish, entries, True)
        if wish in self._asked:
            del self._asked[: self._asked.index(wish) + 1]
            if wish != self._shown:
                self._shown = wish
                self._show(wish, entries, False)
