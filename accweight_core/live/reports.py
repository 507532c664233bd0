"""What goes wrong while tracking is reported once, and training goes on."""

from __future__ import annotations

import logging
from typing import Literal

from accweight_core.errors import AccweightError

LOG = logging.getLogger("accweight")
"""A log and not a warning: programs that turn warnings into errors must not stop either."""

Errors = Literal["report", "raise"]


class Reports:
    """Reports or raises the errors of a tracker.

    Attributes:
        last: Text of the last error; empty if there was none.
    """

    def __init__(self, errors: Errors) -> None:
        """Create it.

        Args:
            errors: Whether errors are logged, once per kind, or raised.
        """
        self.last = ""
        self._raises = errors == "raise"
        self._told: set[object] = set()

    def take(self, error: Exception, consequence: str) -> None:
        """Report an error, or raise it; call it while the error is handled.

        Args:
            error: The error.
            consequence: What becomes of the data.
        """
        if self._raises:
            raise error
        text = (
            str(error) if isinstance(error, AccweightError) else f"{type(error).__name__}: {error}"
        )
        self.last = " ".join(text.split())
        self.tell((type(error), consequence), f"{self.last}; {consequence}")

    def tell(self, kind: object, text: str) -> None:
        """Log a line, unless one of its kind was logged before."""
        if kind not in self._told:
            self._told.add(kind)
            LOG.warning("accweight: %s", text)
