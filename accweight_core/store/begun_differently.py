"""In what an analysis differs from the one that is asked for at the same place, in words."""

from __future__ import annotations

from dataclasses import replace

from accweight_core.store.header import Header


def difference(there: Header, asked: Header) -> str:
    """Return in what two analyses differ, after "holds the analysis", and what else to do.

    Args:
        there: Header of the analysis that exists.
        asked: Header of the one that is asked for, of other checkpoints or with other options.
    """
    files = [[(c.path, c.step, c.copy) for c in one.checkpoints] for one in (there, asked)]
    if there.reader == "memory" or files[0] != files[1]:
        return "of other checkpoints or with other options" + _counted(there, asked)
    if there.keeps_state != asked.keeps_state:
        was, what = ("with", "give it") if there.keeps_state else ("without", "leave it out")
        if _same_but(there, asked, "keeps_state", "picture_bases"):
            return f"of these checkpoints with other options: {was} --keep-state; {what}"
    if there.roles != asked.roles:
        known, wanted = (",".join(role.value for role in one.roles) for one in (there, asked))
        return f"of these checkpoints with other options: --roles {known}, not {wanted}"
    if [p.name for p in there.parameters] != [p.name for p in asked.parameters]:
        return (
            f"of these checkpoints with other options: {len(there.parameters)} parameters, not "
            f"{len(asked.parameters)}"
        )
    if _same_but(there, asked, "picture_bases"):
        return "of these checkpoints with other options: with another --picture-budget"
    if there.same_work(asked, rewritten=True):
        return "of these checkpoints as they were before they were written again"
    return "of other checkpoints or with other options"


def _counted(there: Header, asked: Header) -> str:
    """Return how many steps both have, where that tells them apart."""
    before, now = len(there.checkpoints), len(asked.checkpoints)
    return "" if before == now else f" ({before} steps, not {now})"


def _same_but(there: Header, asked: Header, *fields: str) -> bool:
    """Tell whether two headers describe the same work but for some fields."""
    return replace(there, **{name: getattr(asked, name) for name in fields}).same_work(asked)
