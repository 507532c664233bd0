"""Open a new analysis in the viewer, if it is installed and the session is interactive.

The viewer is another package, found by its command. It runs in a separate process, as it needs
nothing of the process that made the analysis.
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
    """Tell whether the viewer is installed, and there are a display and a terminal."""
    if not _is_installed() or not sys.stdout.isatty():
        return False
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)


def opened_viewer(path: Path) -> None:
    """Open an analysis in the viewer, and wait until its window is closed.

    Raises:
        AccweightError: If the viewer is not installed, or ends with an error.
    """
    if not _is_installed():
        raise AccweightError("the viewer is not installed; pip install 'accweight[viewer]'")
    command = [sys.executable, "-m", "accweight_core", "view", str(path)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise AccweightError(f"the viewer ended with exit code {code}; what it said is above")


def _is_installed() -> bool:
    return bool(entry_points(group=COMMAND_GROUP, name="view"))
