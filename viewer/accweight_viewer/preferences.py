"""Saved settings and window layout."""

from __future__ import annotations

import json

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.settings import Settings

_SETTINGS, _GEOMETRY = "settings", "geometry"


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
