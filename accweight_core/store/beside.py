"""Names of the lock and the temporary folders beside an analysis; they begin with a dot.

They are derived from the real path of the analysis, so that two names of one folder (a link, a
relative path) share one lock and one draft.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from accweight_core.errors import StoreError

What = Literal["lock", "watch", "draft", "next", "replaced", "doomed", "appended"]
"""The lock file, and that of a watcher; a new analysis until its header is written, or merged
segments; the analysis that will replace the existing one, or the steps that will be added to it;
the existing one while it is being replaced; a folder that is being removed; the name that older
versions used for "next"."""


def beside(path: Path, what: What) -> Path:
    """Return the path of a lock or a temporary folder beside an analysis.

    Raises:
        StoreError: If the path has no name, such as the root folder.
    """
    real = real_place(path)
    if not real.name:
        raise StoreError(f"{path}: an analysis is a folder of its own; name one, as NAME.accw")
    return real.with_name(f".{real.name}.{what}")


def name_of(path: Path) -> str:
    """Return what an analysis is called: the name of its folder without `.accw`."""
    name = path.resolve().name if path.name in ("", "..") else path.name
    return name.removesuffix(".accw") or name


def real_place(path: Path) -> Path:
    """Return the path of an analysis with all links resolved."""
    return Path(os.path.realpath(path))
