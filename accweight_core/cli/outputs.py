"""Name the analyses of several series in one folder, without leading out of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from accweight_core.errors import StoreError
from accweight_core.io.target import target_at

LONGEST = 100
"""Most characters taken of a name; file systems allow 255 bytes with what is added."""


def outputs_in(folder: str, names: Sequence[str]) -> dict[str, str]:
    """Return a path FOLDER/NAME.accw for every series.

    Characters that lead elsewhere or that a shell reads are replaced: `version_0/checkpoints` is
    stored as `version_0-checkpoints.accw`.

    Raises:
        StoreError: If the folder cannot be written, or is an analysis.
    """
    home = target_at(folder, "a folder of analyses")
    if (home / "zarr.json").exists():
        raise StoreError(
            f"{home}: is an analysis; with --all, -o names the folder of one analysis per series"
        )
    paths = [str(home / f"{name}.accw") for name in safe_names(names)]
    return dict(zip(names, paths, strict=True))


def safe_names(names: Sequence[str]) -> list[str]:
    """Return a different name of a file for each of some names, whatever is in them.

    >>> safe_names(["run", "a/b", "../RUN"])
    ['run', 'a-b', 'RUN-2']
    """
    taken: set[str] = set()
    found = []
    for name in names:
        plain = re.sub(r"[^\w.+=,@-]+", "-", name)[:LONGEST].strip(".-") or "series"
        unique, number = plain, 2
        while unique.lower() in taken:
            unique, number = f"{plain}-{number}", number + 1
        taken.add(unique.lower())
        found.append(unique)
    return found
