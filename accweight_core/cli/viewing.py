"""From an analysis that was just made to the viewer, if it is installed and somebody watches.

The viewer is another package, found by its command; it runs in a process of its own, which
needs none of what made the analysis.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from accweight_core.cli import COMMAND_GROUP
from accweight_core.errors import AccweightError


def is_watched() -> bool:
    """Tell whether there is a viewer, a screen, and somebody at the terminal."""
    if not _is_installed() or not sys.stdout.isatty():
        return False
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)


def opened_viewer(path: Path) -> None:
    """Open the viewer on an analysis, until its window is closed.

    Raises:
        AccweightError: If it is not installed, or ends with an error.
    """
    if not _is_installed():
        raise AccweightError("the viewer is not installed; pip install 'accweight[viewer]'")
    command = [sys.executable, "-m", "accweight_core", "view", str(path)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise AccweightError(f"the viewer ended with exit code {code}; what it said is above")


def _is_installed() -> bool:
    return bool(entry_points(group=COMMAND_GROUP, name="view"))
