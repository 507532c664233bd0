"""What has to be said about the runs that are shown: a line each, which may lead somewhere."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Literal, NamedTuple

from accweight_core.analysis.ranking import left_out, left_out_text
from accweight_core.store.beside import name_of
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session

Tone = Literal["broken", "warning", "plain"]

WITHOUT_ORDER = ("safetensors",)
"""Formats that keep their tensors in no order of the network."""

LEFT_OUT = "Analyses take the weights alone, unless --roles asks for others as well"
"""What is told about parameters that are not shown."""


class Notice(NamedTuple):
    """One line.

    Attributes:
        text: What is said.
        tip: More about it.
        tone: How it is coloured.
        layer: Layer that it leads to, or None.
        step: Step that it leads to, or None.
        opens: Analyses that it leads to, in a window of their own.
    """

    text: str
    tip: str
    tone: Tone = "plain"
    layer: str | None = None
    step: int | None = None
    opens: tuple[Path, ...] = ()


def notices(session: Session) -> list[Notice]:
    """Return what has to be said, most important first."""
    found = []
    for run in session.runs:
        whose = f"{run.name}: " if len(session.runs) > 1 else ""
        if (first := run.first_nonfinite) is not None:
            tip = "These weights are NaN or infinite from there on; click to go there"
            found.append(Notice(f"{whose}{first}", tip, "broken", first.layer, first.step))
        if run.complete and run.layers and run.largest == 0 and run.first_nonfinite is None:
            tip = "Every weight that is shown has the same value at all checkpoints"
            found.append(Notice(f"{whose}nothing moved", tip, "warning"))
        found += _restarts(run, whose, {one.path.resolve() for one in session.runs})
        if run.path in session.replaced:
            tip = "Another run is now where it was; what is shown is that one"
            found.append(Notice(f"{run.name} was replaced by another run", tip, "warning"))
        if not run.layers:
            found.append(Notice(f"{whose}no layer to show", _left_out(run), "warning"))
        elif run.header.reader in WITHOUT_ORDER:
            tip = f"{run.header.reader} files keep no order: it is inferred from names"
            found.append(Notice(f"{whose}order of layers from names", tip))
    told = {run.name: _left_out(run) for run in session.runs if run.layers}
    if len(set(told.values())) == 1:  # of all runs
        found += [Notice(text, LEFT_OUT) for text in set(told.values()) if text]
    else:
        found += [Notice(f"{name}: {text}", LEFT_OUT) for name, text in told.items() if text]
    return found


def _restarts(run: ShownRun, whose: str, shown: Set[Path]) -> list[Notice]:
    """Return notices on a job that was restarted: what a run follows, and what goes on from it."""
    found: list[Notice] = []
    restart, following = run.header.restart, run.following
    if restart is not None:
        after = f"step {restart.last_step} of {name_of(Path(restart.after))}"
        text = f"{whose}probably restarted after {after}"
        found.append(Notice(text, _sentence(run.analysis.restarts[0])))
    if following is not None and following.resolve() not in shown:
        tip = f"{_sentence(run.analysis.restarts[-1])}; click to see both on one timeline"
        text = f"{whose}the job was probably restarted: it goes on in {name_of(following)}"
        found.append(Notice(text, tip, "warning", opens=(run.path, following)))
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _left_out(run: ShownRun) -> str:
    """Return which parameters are not shown, by what they are for; empty if all are."""
    header = run.header
    text = left_out_text(left_out(header.parameters, header.roles))
    return text.replace(" counted", " shown")


def follow(notice: Notice, session: Session) -> None:
    """Go where a notice leads."""
    if notice.opens:
        session.open_asked.emit(notice.opens)
    if notice.step is not None:
        session.move_to_step(notice.step)
    if notice.layer is not None:
        session.jump_to(notice.layer)
