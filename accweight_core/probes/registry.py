"""The installed probes, found through the entry-point group ``accweight.probes``.

A broken plug-in causes a warning, never a crash.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from accweight_core.arguments import brief
from accweight_core.errors import UnknownNameError
from accweight_core.probes.probe import Needs, Probe
from accweight_core.text import meant

GROUP = "accweight.probes"

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
"""Names of probes; they are names of folders, too."""


@cache
def probes() -> dict[str, type[Probe]]:
    """Return the installed probes by name, in alphabetical order."""
    found: dict[str, type[Probe]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            kind = point.load()
            _check(kind, point.name)
            found[point.name] = kind
        except Exception as error:  # a plug-in may fail in any way; the others must go on
            warnings.warn(f"probe {point.name!r} cannot be used: {error}", stacklevel=2)
    return found


def _check(kind: Any, name: str) -> None:
    """Raise a TypeError unless an object is the class of a probe of this name."""
    is_class, methods = isinstance(kind, type), ("start", "begin", "end")
    if not is_class or not all(hasattr(kind, method) for method in methods):
        raise TypeError("it is no class derived from accweight_core.probes.probe.Probe")
    if kind.name != name or not NAME.fullmatch(name):
        raise TypeError(f"it is called {brief(kind.name)}; expected lower-case letters, {name!r}")
    if not isinstance(kind.version, int) or not isinstance(kind.needs, Needs):
        raise TypeError("its version is no integer, or its needs are not Needs")


def probe_named(name: str) -> type[Probe]:
    """Return a probe by name.

    Raises:
        UnknownNameError: If there is none; lists the installed ones.
    """
    try:
        return probes()[name]
    except KeyError:
        known = ", ".join(probes()) or "none"
        raise UnknownNameError(
            f"no probe is called {brief(name)}; {meant(name, probes())}installed probes: {known}"
        ) from None
