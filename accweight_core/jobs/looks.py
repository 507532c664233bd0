"""What a watcher has found in a folder."""

from __future__ import annotations

from dataclasses import dataclass

from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import AccweightError


@dataclass(frozen=True)
class Look:
    """What a look at the folder has found.

    Attributes:
        analysis: The analysis as it is now; None until there is a checkpoint, or until there are
            two if one alone does not say its step for certain.
        added: Steps that this look has added, ascending.
        waits_for: What has to come or to change before there is more to do, in words.
        problem: Why complete checkpoints could not be added.
        again_s: If nothing was added, look again after this time, even if nothing has changed; None
            if that is useless.
        is_settling: Whether a checkpoint is complete, but was changed or found a moment ago.
        has_more: Whether the job was started again after what was added, so that more is due.
    """

    analysis: Analysis | None
    added: tuple[int, ...] = ()
    waits_for: str = ""
    problem: AccweightError | None = None
    again_s: float | None = None
    is_settling: bool = False
    has_more: bool = False
