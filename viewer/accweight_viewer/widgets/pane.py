"""The interface of panes, so that the window treats all of them alike.

To add a pane: write a widget that is also a `Pane`, and pass it to `add_pane` in
`MainWindow._build`. Nothing else changes: the window waits for it before a screenshot, sets its
theme, ticks it during playback, and closes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accweight_viewer.theme import Theme


class Pane:
    """A part of the window; a base class listed after the Qt widget."""

    @property
    def settled(self) -> bool:
        """Whether everything requested is shown."""
        return True

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        raise NotImplementedError

    def tick(self, now: float) -> bool:
        """Update before the next frame; return whether another tick is needed.

        Args:
            now: A clock in seconds.
        """
        return False

    if TYPE_CHECKING:  # methods of every Qt widget

        def close(self) -> bool:
            """Close the widget; background reading stops in its `closeEvent`."""

        def isVisibleTo(self, ancestor: Any) -> bool:  # noqa: N802
            """Tell whether it is visible when `ancestor` is."""
