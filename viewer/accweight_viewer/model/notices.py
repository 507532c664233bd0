"""What has to be said about the runs that are shown: a line each, which may lead somewhere."""

from __future__ import annotations

from typing import Literal, NamedTuple

from accweight_viewer.model.session import Session

Tone = Literal["broken", "plain"]


class Notice(NamedTuple):
    """One line.

    Attributes:
        text: What is said.
        tip: More about it.
        tone: How it is coloured.
        layer: Layer that it leads to, or None.
        step: Step that it leads to, or None.
    """

    text: str
    tip: str
    tone: Tone = "plain"
    layer: str | None = None
    step: int | None = None


def notices(session: Session) -> list[Notice]:
    """Return what has to be said, most important first."""
    found = []
    for run in session.runs:
        whose = f"{run.name}: " if len(session.runs) > 1 else ""
        if (first := run.first_nonfinite) is not None:
            tip = "These weights are NaN or infinite from there on; click to go there"
            found.append(Notice(f"{whose}{first}", tip, "broken", first.layer, first.step))
    return found


def follow(notice: Notice, session: Session) -> None:
    """Go where a notice leads."""
    if notice.step is not None:
        session.move_to_step(notice.step)
    if notice.layer is not None:
        session.jump_to(notice.layer)
