"""Settings on disk: what the user chose last time, and how the window was laid out."""

from __future__ import annotations

import json

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.settings import Settings

_SETTINGS, _GEOMETRY = "settings", "geometry"


class Preferences:
    """Where settings are kept between sessions: the platform's own place for them."""

    def __init__(self, file: str | None = None) -> None:
        kind = QtCore.QSettings.Format.IniFormat
        scope = QtCore.QSettings.Scope.UserScope
        self._kept = (
            QtCore.QSettings(file, kind)
            if file
            else QtCore.QSettings(kind, scope, "accweight", "viewer")
        )

    def settings(self) -> Settings:
        """Return the settings of last time; the defaults if there are none, or none readable."""
        try:
            return Settings.from_json(json.loads(str(self._kept.value(_SETTINGS, "{}"))))
        except ValueError:
            return Settings()

    def keep(self, settings: Settings) -> None:
        """Keep settings for next time."""
        self._kept.setValue(_SETTINGS, json.dumps(settings.to_json()))

    def geometry(self, name: str) -> QtCore.QByteArray | None:
        """Return the state of a window or splitter, None if none was kept."""
        value = self._kept.value(f"{_GEOMETRY}/{name}")
        return value if isinstance(value, QtCore.QByteArray) else None

    def keep_geometry(self, name: str, state: QtCore.QByteArray) -> None:
        """Keep the state of a window or splitter."""
        self._kept.setValue(f"{_GEOMETRY}/{name}", state)
