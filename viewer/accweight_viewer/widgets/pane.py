"""What every pane keeps, so that the window can ask all of them alike and knows none by name.

To add a pane: write a widget that is a `Pane` too, and put it up in `MainWindow._build` with
`add_pane`. Nothing else has to hear of it: the window waits for it before it takes a picture,
gives it the colours of the theme, draws it while time runs, and closes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accweight_viewer.theme import Theme


class Pane:
    """A part of the window; to be named as a base beside a Qt widget, after it."""

    @property
    def settled(self) -> bool:
        """Whether everything that was asked for is shown."""
        return True

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        raise NotImplementedError

    def tick(self, now: float) -> bool:
        """Do what is due before the next frame; tells whether there is more to come.

        Args:
            now: A clock in seconds.
        """
        return False

    if TYPE_CHECKING:  # Qt's own, of every widget

        def close(self) -> bool:
            """Close the widget; one that reads in the background stops in its `closeEvent`."""

        def isVisibleTo(self, ancestor: Any) -> bool:  # noqa: N802
            """Tell whether it can be seen where `ancestor` can."""
