"""What lies beside an analysis while it is written, under names that begin with a dot.

They are made of the real place of the analysis, so that two names of one folder (a link, a
relative path) have one lock and one draft.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from accweight_core.errors import StoreError

What = Literal["lock", "draft", "next", "replaced", "doomed", "appended"]
"""The lock; an analysis before it appears with its header; the one that will take the place of
this one; this one while its name changes hands; what is being removed; and what older programs
called the next one."""


def beside(path: Path, what: What) -> Path:
    """Return where something lies beside an analysis.

    Raises:
        StoreError: If nothing can lie beside it.
    """
    real = real_place(path)
    if not real.name:
        raise StoreError(f"{path}: an analysis is a folder of its own; name one, as NAME.accw")
    return real.with_name(f".{real.name}.{what}")


def real_place(path: Path) -> Path:
    """Return the place of an analysis without links on the way."""
    return Path(os.path.realpath(path))
