"""Saved settings and window layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.settings import Settings

_SETTINGS, _GEOMETRY, _RECENT, _FLOWN = "settings", "geometry", "recent", "flown"

MOST_RECENT = 8
"""Analyses that are remembered."""


class Preferences:
    """Storage between sessions, in the platform's usual location."""

    def __init__(self, file: str | None = None) -> None:
        kind = QtCore.QSettings.Format.IniFormat
        scope = QtCore.QSettings.Scope.UserScope
        self._kept = (
            QtCore.QSettings(file, kind)
            if file
            else QtCore.QSettings(kind, scope, "accweight", "viewer")
        )

    def settings(self) -> Settings:
        """Return the saved settings, or the defaults if there are none or they are unreadable."""
        try:
            return Settings.from_json(json.loads(str(self._kept.value(_SETTINGS, "{}"))))
        except ValueError:
            return Settings()

    def keep(self, settings: Settings) -> None:
        """Save settings."""
        self._kept.setValue(_SETTINGS, json.dumps(settings.to_json()))

    def geometry(self, name: str) -> QtCore.QByteArray | None:
        """Return the saved state of a window or splitter, or None."""
        value = self._kept.value(f"{_GEOMETRY}/{name}")
        return value if isinstance(value, QtCore.QByteArray) else None

    def keep_geometry(self, name: str, state: QtCore.QByteArray) -> None:
        """Save the state of a window or splitter."""
        self._kept.setValue(f"{_GEOMETRY}/{name}", state)

    @property
    def has_flown(self) -> bool:
        """Whether the camera was ever moved by hand."""
        return str(self._kept.value(_FLOWN, "")) == "yes"

    def keep_flown(self) -> None:
        """Remember that the camera was moved by hand."""
        self._kept.setValue(_FLOWN, "yes")

    @property
    def recent(self) -> list[Path]:
        """Analyses opened before that are still there, the latest first."""
        try:
            names = json.loads(str(self._kept.value(_RECENT, "[]")))
        except ValueError:
            return []
        known = names if isinstance(names, list) else []
        paths = [Path(name) for name in known if isinstance(name, str) and "\0" not in name]
        return [path for path in paths if path.is_dir()][:MOST_RECENT]

    def keep_recent(self, paths: Sequence[Path]) -> None:
        """Remember that analyses were opened."""
        now = [path.resolve() for path in paths]
        names = [str(path) for path in (*now, *(p for p in self.recent if p not in now))]
        self._kept.setValue(_RECENT, json.dumps(names[:MOST_RECENT]))
