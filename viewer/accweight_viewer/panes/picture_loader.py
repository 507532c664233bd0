"""Keeps a picture supplied: what is seen now, what lies below it, and what comes next.

Whoever moves on faster than files can be read gets the latest that has been read, in order and
never from further back: a picture that lags a little is better than one that stands still.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from accweight_viewer.model.colours import Entries
from accweight_viewer.model.picture_requests import PictureRequest
from accweight_viewer.widgets.background import Background

MOST_CACHED = 12
"""Regions kept: the steps before and after, the zoom before. A region has 1.3 MB at most."""

Show = Callable[[PictureRequest, Entries, bool], object]


class PictureLoader:
    """Reads parts in the background and hands them out."""

    def __init__(self, show: Show, settled: Callable[[], object]) -> None:
        """Start.

        Args:
            show: Called with a region, and whether it lies below the one that is seen.
            settled: Called whenever something has arrived or failed.
        """
        self._show = show
        self._settled = settled
        self._over: PictureRequest | None = None
        self._under: PictureRequest | None = None
        self._shown: PictureRequest | None = None
        self._shown_below: PictureRequest | None = None
        self._asked: list[PictureRequest] = []
        self._cached: OrderedDict[PictureRequest, Entries] = OrderedDict()
        self._background: Background[PictureRequest, Entries] = Background(
            lambda request: request.read(), self._collect
        )

    def want(
        self, over: PictureRequest, under: PictureRequest, ahead: Iterable[PictureRequest] = ()
    ) -> None:
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
        for request in dict.fromkeys((under, over)):
            if request in self._cached:
                self._hand_out(request, self._cached[request])
        requests = dict.fromkeys((under, over, *ahead))
        self._background.loader.request(
            request for request in requests if request not in self._cached
        )

    def reset(self) -> None:
        """Forget what is shown: the canvas is empty. What has been read is kept."""
        self._over = self._under = self._shown = self._shown_below = None
        self._asked.clear()
        self._background.loader.request(())

    @property
    def late(self) -> bool:
        """Whether what is shown is not what is wanted."""
        return self._over is not None and self._shown != self._over

    @property
    def shown(self) -> PictureRequest | None:
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
        for request, entries in self._background.values():
            self._cached[request] = entries
            while len(self._cached) > MOST_CACHED:
                self._cached.popitem(last=False)
            self._hand_out(request, entries)
        self._settled()

    def _hand_out(self, request: PictureRequest, entries: Entries) -> None:
        """Show what has been read, unless something later is shown already."""
        if request in self._cached:
            self._cached.move_to_end(request)
        if request == self._under and request != self._shown_below:
            self._shown_below = request
            self._show(request, entries, True)
        if request in self._asked:
            del self._asked[: self._asked.index(request) + 1]
            if request != self._shown:
                self._shown = request
                self._show(request, entries, False)
