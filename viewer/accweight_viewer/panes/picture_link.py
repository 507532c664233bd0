"""Two picture windows that zoom and pan together."""

from __future__ import annotations

from accweight_viewer.model.session import Session
from accweight_viewer.panes.picture_window import PictureWindow
from accweight_viewer.widgets.events import listen


def link(first: PictureWindow, second: PictureWindow, session: Session) -> None:
    """Make two windows show the same part while the setting `linked` is on."""

    def follow(leader: PictureWindow, other: PictureWindow) -> None:
        if session.settings.linked:
            other.set_view(leader.shares)

    def settings_changed(names: frozenset[str]) -> None:
        if "linked" in names:
            follow(first, second)

    first.view_changed.connect(lambda _: follow(first, second))
    second.view_changed.connect(lambda _: follow(second, first))
    listen(first, session.settings_changed, settings_changed)
