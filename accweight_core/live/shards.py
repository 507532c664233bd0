"""Models that are trained by several processes: one process tracks a model that each has whole.

Of a model that is sharded (FSDP, tensors of ``torch.distributed``), each process measures its own
part, and all get the sums of the whole. These are sums over sub-blocks, so they have the bits of
one process where parts begin at sub-blocks: at rows whose number is a multiple of
``16384 // columns``, rounded down to a power of two. Elsewhere sub-blocks differ, and sums agree to
about 1e-13 relative (at most 4e-12). A_t, maxima, sign flips and counts are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.distributed
from torch import Tensor

from accweight_core.errors import MismatchError
from accweight_core.live.flat_shards import FlatPart
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats, Totals


def rank() -> int:
    """Return the number of this process among those that train together; 0 if it is alone."""
    return torch.distributed.get_rank() if is_shared() else 0


def is_shared() -> bool:
    """Tell whether this process trains together with others."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_sharded(values: Iterable[Any]) -> bool:
    """Tell whether any of these is a tensor of which other processes hold parts."""
    return any(isinstance(v, FlatPart) or _placements(v) is not None for v in values)


def _placements(value: Any) -> Any:
    """Return how a distributed tensor is placed; None for a plain one."""
    return getattr(value, "placements", None) if isinstance(value, Tensor) else None


def local_part(tensor: Tensor | FlatPart) -> tuple[int, Tensor]:
    """Return this process's part of a tensor, and its first element.

    Parts along the first axis are measured where they are; other ones are put together first,
    which all processes have to do at the same time.
    """
    if isinstance(tensor, FlatPart):
        return tensor.first, tensor.values
    placements = _placements(tensor)
    if placements is None:
        return 0, tensor
    sharded: Any = tensor
    split = [placement for placement in placements if not placement.is_replicate()]
    if any(type(p).__name__ != "Shard" or p.dim != 0 for p in split) or len(split) > 1:
        return 0, sharded.full_tensor()
    part: Tensor = sharded.to_local()
    if not split:
        return 0, part
    axis = list(placements).index(split[0])
    place, places = sharded.device_mesh.get_local_rank(axis), sharded.device_mesh.size(axis)
    rows = -(-tensor.shape[0] // places) * place
    return min(rows, tensor.shape[0]) * (tensor.numel() // max(tensor.shape[0], 1)), part


@dataclass(frozen=True)
class PartSums:
    """Sums of the sub-blocks of a part of a parameter.

    Attributes:
        first: First element of the part.
        elements: Elements per sub-block.
        values: (sub-blocks, sums).
    """

    first: int
    elements: npt.NDArray[np.int64]
    values: Floats


class ApartError(MismatchError):
    """Processes that hold shards are at different steps."""


def agree(problem: Exception | None, step: int | None, before: Sequence[int]) -> None:
    """Raise in all processes if there is a problem in one of them.

    Args:
        problem: That of this process.
        step: The step that is about to be taken, if one is.
        before: The steps that have been taken.

    Raises:
        ApartError: If the processes are not at the same step.
        MismatchError: If there is a problem elsewhere; here, the problem itself.
    """
    found = everywhere((None if problem is None else str(problem), step, len(before), before[-1:]))
    if problem is not None and step is None:
        raise problem
    texts = [text for text, *_ in found]
    told = next((place for place, text in enumerate(texts) if text is not None), None)
    other = next((place for place, at in enumerate(found) if at[1:] != found[0][1:]), None)
    if other is not None and (step is not None or told is None):
        raise ApartError(
            "the processes are at different steps ("
            + ", ".join(f"process {place}: {_at(*found[place][1:])}" for place in (0, other))
            + "); update all with the same steps, and load states that were saved at the same step"
        )
    if problem is not None:
        raise problem
    if told is not None:
        raise MismatchError(f"process {told}: {texts[told]}")


def _at(step: int | None, many: int, last: Sequence[int]) -> str:
    """Return where a process is, in words."""
    reached = f"{many} steps up to {last[0]}" if last else "no step before"
    return reached if step is None else f"step {step}, {reached}"


def totals_of_all(measure: Callable[[], Mapping[str, PartSums]]) -> Floats:
    """Return the sums of all parameters, (parameters, sums), from the parts of all processes.

    Args:
        measure: Measures the parts of this process.

    Raises:
        MismatchError: If that fails in another process; here, its own error.
    """
    problem: Exception | None = None
    own: Mapping[str, PartSums] = {}
    try:
        own = measure()
    except Exception as error:  # the other processes wait, and must be told
        problem = error
    found = everywhere(own if problem is None else None)
    if problem is not None:
        raise problem
    if any(part is None for part in found):
        raise MismatchError("a step could not be measured in another process")
    values = np.zeros((len(own), len(SUMS)))
    for index, name in enumerate(own):
        parts = {parts[name].first: parts[name] for parts in reversed(found)}
        totals = Totals.empty(1)
        for first in sorted(parts):
            if len(parts[first].elements):
                totals.extend(parts[first].elements, parts[first].values[None])
        values[index] = totals.values[0]
    return values


def at_first(value: Any) -> list[Any]:
    """Return what each process gives, in the first one; nothing in the others. All have to call it.

    The first one's own is not copied.
    """
    if rank():
        torch.distributed.gather_object(value)
        return []
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.gather_object(None, found)
    return [value, *found[1:]]


def everywhere(value: Any) -> list[Any]:
    """Return what each process gives, in their order; all have to call it."""
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value)
    return found
