"""What a user is told of an analysis whose job was started again: what it follows, what follows it.

The analyses themselves lie beside each other (`store.restarts`).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from accweight_core.errors import StoreError
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header
from accweight_core.store.restarts import next_of


def restart_notes(header: Header, path: Path | None) -> tuple[str, ...]:
    """Return what an analysis follows, and what goes on from it; nothing without a restart.

    Args:
        header: Header of the analysis.
        path: Its folder; None in memory.
    """
    return (*_followed(header), *_following(header, path))


def _followed(header: Header) -> tuple[str, ...]:
    restart, begins = header.restart, header.checkpoints[0].step
    if restart is None:
        return ()
    how = f"this analysis begins with step {begins}"
    if begins < restart.first_step:
        how += ", from which it probably went on"
    elif begins:
        how += ", as no checkpoint before it was there"
    text = (
        f"the job was probably restarted: step {restart.first_step} was written after step "
        f"{restart.last_step}, the last one in {restart.after}; {how}"
    )
    return (text,)


def _following(header: Header, path: Path | None) -> tuple[str, ...]:
    following = next_of(path, header) if path is not None else None
    if following is None:
        return ()
    text = (
        f"the job was probably restarted after step {header.last_step}: what it has written since "
        f"is in {following.name}"
    )
    return (text,)


def changed_since(path: Path | None) -> str:
    """Return why a checkpoint that was analysed may be another one now, and what to do.

    Args:
        path: Folder of the analysis; None if it is not known.
    """
    following = None
    if path is not None:
        with suppress(StoreError, OSError):
            following = next_of(path, Store.begun_at(path).header)
    kept = "exact values need it as it was, rankings and pictures do not"
    if following is not None:
        return (
            f"as the job was probably restarted: what it has written since is in {following.name}; "
            f"{kept}"
        )
    return (
        f"perhaps as a restarted job wrote it again; {kept}, so keep this analysis, and analyse "
        "what is there now to another output"
    )
