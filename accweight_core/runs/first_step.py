"""Whether a checkpoint that is alone so far has the step that it will have among others.

The steps of a run are found by comparing its checkpoints (`step_order`). Who follows a job that
deletes each checkpoint when it writes the next has to begin with one.
"""

from __future__ import annotations

from accweight_core.runs.found import Placed
from accweight_core.runs.name_parts import parts_of
from accweight_core.runs.order_words import is_copy_name

TOLD = ("in name: ", "in file: ")
"""How the sources of steps begin that checkpoints say themselves."""


def is_first_of_run(place: Placed) -> bool:
    """Tell whether a checkpoint may begin a run before there is a second one.

    Its name, or that of its folder, must have its step as the last number: as the only one, or the
    file says the same step. So copies (``last.pt``), pretrained weights that others trained
    (``resnet50.pt``, whose counter is another), and numbers without a word wait for a second one.
    """
    names = [name for name in place.found.parts[:-3:-1] if parts_of(name).counts]
    counts = parts_of(names[0]).counts if names else ()
    if not counts or is_copy_name(names[0]) or not place.source.startswith(TOLD):
        return False
    is_told_twice = place.source.startswith("in file: ")
    return counts[-1].value == place.step and (len(counts) == 1 or is_told_twice)
