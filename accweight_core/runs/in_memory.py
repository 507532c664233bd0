"""Weights in memory as checkpoints: a sequence of state dicts, or such mappings by step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from accweight_core.arguments import checked_names, checked_step, checked_values
from accweight_core.dtypes import DTYPES
from accweight_core.errors import SourceError, StepOrderError
from accweight_core.schema import Checkpoint, HiddenValues, StoredTensor


class InMemory(NamedTuple):
    """Checkpoints in memory, and what their user should know."""

    checkpoints: tuple[Checkpoint, ...]
    notes: tuple[str, ...]


def in_memory(source: Any) -> InMemory | None:
    """Return the checkpoints of weights in memory, and notes; None for a source of files.

    Raises:
        SourceError: If it is neither a sequence of mappings nor mappings by step.
        StepOrderError: If two are of one step.
        ArgumentTypeError: If the values of a mapping are neither arrays nor tensors.
    """
    if isinstance(source, Mapping):
        return _in_memory(_by_step(source))
    if isinstance(source, (str, os.PathLike)) or not isinstance(source, Sequence):
        return None
    mappings = [item for item in source if isinstance(item, Mapping)]
    if mappings and len(mappings) < len(source):
        raise SourceError("weights in memory and files cannot be one run; give one or the other")
    return _in_memory(list(enumerate(mappings))) if mappings else None


def _by_step(weights: Mapping[Any, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    for step, state in weights.items():
        if not isinstance(state, Mapping):
            raise SourceError(
                f"expected weights by step, got {type(state).__name__} under {step!r}; "
                "give a sequence of state dicts, or a mapping of step to state dict"
            )
    found = sorted(((checked_step(step), step) for step in weights), key=itemgetter(0))
    for (step, first), (later, second) in pairwise(found):
        if step == later:
            raise StepOrderError(f"{first!r} and {second!r} are both step {step}; leave one out")
    return [(step, weights[given]) for step, given in found]


def _in_memory(weights: Sequence[tuple[int, Mapping[str, Any]]]) -> InMemory:
    """Return checkpoints of the caller's arrays or tensors."""
    for step, mapping in weights:
        checked_names(mapping, f"at step {step}")
    checkpoints = tuple(
        Checkpoint(
            path=f"memory:{step}",
            step=step,
            step_source="order given",
            format="memory",
            tensors={name: _held(name, value) for name, value in mapping.items()},
        )
        for step, mapping in weights
    )
    if not checkpoints:
        raise SourceError("no checkpoints given: the sequence is empty")
    return InMemory(checkpoints, _shared_memory(weights))


def _shared_memory(weights: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Return a note if two checkpoints share their memory, as live weights do."""
    for (step, first), (later, second) in pairwise(weights):
        tensors = [name for name in first if name in second and hasattr(first[name], "data_ptr")]
        if tensors and all(_address(first[name]) == _address(second[name]) for name in tensors):
            note = (
                f"steps {step} and {later} share their memory, so nothing can have moved between "
                "them; keep copies: {name: value.clone() for name, value in state_dict.items()}"
            )
            return (note,)
    return ()


def _address(value: Any) -> Any:
    try:
        return value.data_ptr() if hasattr(value, "data_ptr") and value.numel() else id(value)
    except RuntimeError:  # tensors without storage
        return id(value)


def _held(name: str, value: Any) -> StoredTensor:
    """Describe an array or tensor in memory."""
    value = checked_values(name, value)
    dtype = str(value.dtype).removeprefix("torch.")
    shape = tuple(int(length) for length in value.shape)
    refusal = "" if dtype in DTYPES else f"values of type {dtype} are not numbers known here"
    return StoredTensor(name, HiddenValues(lambda: value, dtype, shape), refusal=refusal)
