"""Analyses of a job that was started again from an earlier step: they lie beside each other.

    run.accw      what the job had done before
    run-2.accw    what it has done since; its header says what it follows
    run-3.accw    after it was started again once more

Nothing is written into the earlier ones. Which analysis goes on from another one is told by
headers alone, so that a number that the user took for something else is passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path

from accweight_core.errors import StoreError
from accweight_core.io.stamp import stamp_if_there
from accweight_core.schema import Restart, Stamp
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import is_taken
from accweight_core.store.documents import METADATA, checked
from accweight_core.store.header import Header

ENDING = ".accw"

FIRST_NUMBER = 2
"""Number of the first analysis beside the one that was asked for."""


def next_of(path: Path, header: Header) -> Path | None:
    """Return the analysis that goes on from another one; None if its job was not restarted.

    Args:
        path: Folder of the other analysis.
        header: Its header.
    """
    last = header.checkpoints[-1]
    for place in _numbered_beside(path):
        if place.name == path.name:
            continue
        restart = _restart_at(place, stamp_if_there(place / METADATA))
        follows = restart and (restart.after, restart.last_step, restart.last_changed_ns)
        if follows == (path.name, last.step, last.changed_ns):
            return place
    return None


def chain_from(path: Path) -> list[Path]:
    """Return an analysis and those that go on from it, in order; the last one may be unfinished.

    Raises:
        StoreError: If one of them cannot be read.
    """
    chain = [path]
    while (header := Store.begun_at(chain[-1]).header).complete:
        following = next_of(chain[-1], header)
        if following is None or following in chain:
            break
        chain.append(following)
    return chain


def free_place(path: Path, header: Header) -> Path:
    """Return where to begin an analysis that goes on from another one.

    Args:
        path: Folder of the other analysis.
        header: Its header.
    """
    stem, shared, ending = _parts_of(path)
    root = shared if shared and header.restart is not None else stem
    places = (path.with_name(f"{root}-{number}{ending}") for number in count(FIRST_NUMBER))
    return next(place for place in places if not is_taken(place))


def _numbered_beside(path: Path) -> Iterator[Path]:
    """Yield the folders whose names say that they may go on from an analysis."""
    stem, shared, ending = _parts_of(path)
    roots = "|".join(re.escape(root) for root in filter(None, (stem, shared)))
    pattern = re.compile(rf"(?:{roots})-(\d+){re.escape(ending)}")
    try:
        names = os.listdir(path.parent)
    except OSError:
        return
    found = [(int(match[1]), name) for name in names if (match := pattern.fullmatch(name))]
    yield from (path.with_name(name) for _, name in sorted(found))


def _parts_of(path: Path) -> tuple[str, str, str]:
    """Return the name of an analysis, the one before its number if it has one, and its ending."""
    stem = path.name.removesuffix(ENDING) or path.name
    numbered = re.fullmatch(r"(.+)-\d+", stem)
    return stem, numbered[1] if numbered else "", path.name[len(stem) :]


@lru_cache(maxsize=64)
def _restart_at(place: Path, stamp: Stamp | None) -> Restart | None:
    """Return what the analysis at a place follows; None if there is none, or it follows none.

    Args:
        place: Its folder.
        stamp: Stamp of its header: who follows a growing analysis asks again and again.
    """
    if stamp is None:
        return None
    try:
        document = Store.document_at(place)
        return checked(document["restart"], Restart)
    except (StoreError, OSError, ValueError, TypeError, KeyError):
        return None
