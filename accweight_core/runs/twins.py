"""Tell checkpoints that have the same weights, as best and last often have of another one."""

from __future__ import annotations

from collections.abc import Sequence

from accweight_core.errors import FormatError
from accweight_core.io.reading import same_values
from accweight_core.runs.found import Found, Placed
from accweight_core.schema import StoredTensor


def twin_of(found: Found, placed: Sequence[Placed]) -> Placed | None:
    """Return the checkpoint that has the same weights; the last ones are tried first."""
    tensors = tensors_of(found)
    others = (place for place in reversed(placed) if place.found is not found)
    return next((place for place in others if same(tensors_of(place.found), tensors)), None)


def same(left: Sequence[StoredTensor], right: Sequence[StoredTensor]) -> bool:
    """Tell whether two checkpoints have the same weights; a damaged one has others."""
    try:
        return same_values(left, right)
    except FormatError:
        return False


def tensors_of(found: Found) -> Sequence[StoredTensor]:
    """Return the tensors of a checkpoint."""
    return found.description.tensors
