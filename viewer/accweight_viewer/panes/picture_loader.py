"""Loads the regions of a picture: the visible one, a coarse one below, and the next step's.

If the step changes faster than files can be read, the latest region read is shown, and never an
earlier one after a later one: a slightly delayed picture is better than a frozen one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from accweight_viewer.model.picture_requests import Drawn, PictureRequest
from accweight_viewer.widgets.background import Background

MOST_CACHED = 12
"""Regions in the cache: neighbouring steps and the previous zoom, at most 1.3 MB each."""

Show = Callable[[PictureRequest, Drawn, bool], object]


class PictureLoader:
    """Reads regions in the background and passes them on."""

    def __init__(self, show: Show, settled: Callable[[], object]) -> None:
        """Start the loader.

        Args:
            show: Called with a region, and whether it is the coarse one below.
            settled: Called whenever a request has finished or failed.
        """
        self._show = show
        self._settled = settled
        self._over: PictureRequest | None = None
        self._under: PictureRequest | None = None
        self._shown: PictureRequest | None = None
        self._shown_below: PictureRequest | None = None
        self._asked: list[PictureRequest] = []
        self._cached: OrderedDict[PictureRequest, Drawn] = OrderedDict()
        self._background: Background[PictureRequest, Drawn] = Background(
            lambda request: request.read(), self._collect
        )

    def want(
        self, over: PictureRequest, under: PictureRequest, ahead: Iterable[PictureRequest] = ()
    ) -> None:
        """Set the regions to show.

        Args:
            over: The visible region.
            under: The whole picture, coarse, shown until the visible region is loaded.
            ahead: Regions needed soon.
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
        """Treat the canvas as empty; the cache is kept."""
        self._over = self._under = self._shown = self._shown_below = None
        self._asked.clear()
        self._background.loader.request(())

    @property
    def late(self) -> bool:
        """Whether the region shown is not the wanted one."""
        return self._over is not None and self._shown != self._over

    @property
    def shown(self) -> PictureRequest | None:
        """The region shown."""
        return self._shown

    @property
    def problem(self) -> Exception | None:
        """Why the wanted region cannot be read, or None."""
        failures = self._background.loader.failures
        found = [failures[w] for w in (self._over, self._under) if w is not None and w in failures]
        return found[0] if found else None

    @property
    def idle(self) -> bool:
        """Whether no request is in progress."""
        return self._background.idle

    def close(self) -> None:
        """Stop."""
        self._background.close()

    def _collect(self) -> None:
        for request, drawn in self._background.values():
            self._cached[request] = drawn
            while len(self._cached) > MOST_CACHED:
                self._cached.popitem(last=False)
            self._hand_out(request, drawn)
        self._settled()

    def _hand_out(self, request: PictureRequest, drawn: Drawn) -> None:
        """Show a region, unless a later one is shown already."""
        if request in self._cached:
            self._cached.move_to_end(request)
        if request == self._under and request != self._shown_below:
            self._shown_below = request
            self._show(request, drawn, True)
        if request in self._asked:
            del self._asked[: self._asked.index(request) + 1]
            if request != self._shown:
                self._shown = request
                self._show(request, drawn, False)
