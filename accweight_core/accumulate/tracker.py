"""Live: change added up while a model trains, on the device where its weights are.

The other way round from the block walk: all parameters at one step, then the next step. Per
weight the tracker keeps the reference and the previous value (as float32) and the cumulative
change (float64), 16 bytes in all, and calls the same kernels on the same sub-blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core.accumulate.walk import pieces_of
from accweight_core.analysis import Analysis
from accweight_core.dtypes import is_measurable
from accweight_core.errors import (
    MismatchError,
    NonFiniteError,
    ShapeMismatchError,
    SourceError,
    StepOrderError,
    UnknownNameError,
    UnsupportedDtypeError,
)
from accweight_core.fused import measure_step, start_block
from accweight_core.header import CheckpointRecord, Header
from accweight_core.kernels import (
    SUMS,
    BlockState,
    Scratch,
    partition,
    widened_dtype,
)
from accweight_core.naming import layers_of
from accweight_core.reading import as_tensor
from accweight_core.schema import (
    DEFAULT_ROLES,
    MEASURED_ROLES,
    HiddenValues,
    Parameter,
    Role,
    StoredTensor,
)
from accweight_core.summary import completed
from accweight_core.totals import Floats, Totals

PENDING_STEPS = 64
"""Steps whose sums wait on a device before they are fetched, so that training never waits."""


@dataclass
class _Tracked:
    """One parameter while it is tracked."""

    parameter: Parameter
    states: list[BlockState]
    sizes: npt.NDArray[np.int64]
    pending: list[Tensor]
    folded: list[Floats]

    def fold(self) -> None:
        """Fetch the sums that wait and fold them, step by step."""
        for sums in self.pending:
            totals = Totals.empty(1)
            totals.extend(self.sizes, sums.cpu().numpy()[None])
            self.folded.append(totals.values[0])
        self.pending.clear()


class ChangeTracker:
    """Adds up the change of every weight, one `update` per step.

    >>> tracker = ChangeTracker()
    >>> for step in range(3):
    ...     _ = tracker.update({"fc.weight": np.full((2, 2), step / 4)}, step=step)
    >>> float(tracker.analysis().ranking()["mean"][0])
    0.5
    """

    def __init__(self, *, strict: bool = False, roles: tuple[Role, ...] = DEFAULT_ROLES) -> None:
        """Begin without weights; the first `update` gives the reference.

        Args:
            strict: Make the first non-finite element an error instead of counting it.
            roles: Roles that count in layers, rankings and the maximum.
        """
        self._strict = strict
        self._roles = tuple(Role(role) for role in roles)
        self._steps: list[int] = []
        self._tracked: dict[str, _Tracked] = {}
        self._scratch = Scratch()

    @torch.no_grad()
    def update(self, weights: Mapping[str, Any], step: int | None = None) -> ChangeTracker:
        """Take the weights of one step; nothing of them is kept or changed.

        Args:
            weights: ``model.state_dict()``, or any mapping of name to tensor or array.
            step: The step, larger than the one before; counts from 0 by default.

        Returns:
            The tracker itself.

        Raises:
            StepOrderError: If `step` is not larger than the last one.
            MismatchError: If a parameter is missing or has another shape.
            NonFiniteError: If an element is not finite and the tracker is strict.
        """
        step = (self._steps[-1] + 1 if self._steps else 0) if step is None else int(step)
        if self._steps and step <= self._steps[-1]:
            raise StepOrderError(f"step {step} came after step {self._steps[-1]}; steps must grow")
        tracked = self._tracked or self._begun(weights)
        current = {name: self._checked(t, weights, step) for name, t in tracked.items()}
        self._tracked = tracked  # from here on nothing is the caller's mistake any more
        for name, values in current.items():
            self._measure(tracked[name], values)
        self._steps.append(step)
        return self

    def analysis(self) -> Analysis:
        """Return the result so far, in memory; the tracker goes on.

        Exact cumulative changes are to be had for the last step only.

        Raises:
            MismatchError: If there have been fewer than two updates.
        """
        if len(self._steps) < 2:
            raise MismatchError(
                f"change needs at least two updates, there have been {len(self._steps)}"
            )
        for tracked in self._tracked.values():
            tracked.fold()
        values = np.stack([np.stack(t.folded) for t in self._tracked.values()], axis=1)
        header = Header(
            source="live",
            reader="memory",
            checkpoints=tuple(
                CheckpointRecord(f"memory:{step}", step, "order given", "memory", 0, 0)
                for step in self._steps
            ),
            parameters=tuple(t.parameter for t in self._tracked.values()),
            roles=self._roles,
        )
        last = self._steps[-1]

        def latest(name: str) -> npt.NDArray[np.float64]:
            if self._steps[-1] != last:
                raise SourceError(
                    f"the tracker has gone on from step {last} to step {self._steps[-1]} and "
                    "keeps exact values of its last step only; ask it for a new analysis"
                )
            return self.cumulative(name)

        return Analysis(completed(header, values), values, latest=latest)

    def cumulative(self, name: str) -> npt.NDArray[np.float64]:
        """Return A_t of a parameter at the last step, in its own shape."""
        if name not in self._tracked:
            raise UnknownNameError(f"no parameter called {name!r} is tracked")
        tracked = self._tracked[name]
        flat = [state.total.reshape(-1).cpu() for state in tracked.states]
        total = torch.cat(flat) if flat else torch.empty(0, dtype=torch.float64)
        return total.numpy().reshape(tracked.parameter.shape)

    def _begun(self, weights: Mapping[str, Any]) -> dict[str, _Tracked]:
        """Choose what to track: what `analyze` would measure of the same weights."""
        described = []
        for name, value in weights.items():
            tensor = as_tensor(value)
            dtype = str(tensor.dtype).removeprefix("torch.")
            hidden = HiddenValues(lambda: None, dtype, tuple(tensor.shape))
            described.append(StoredTensor(name, hidden))
        wanted = {*MEASURED_ROLES, *self._roles}
        tracked = {
            parameter.name: _Tracked(parameter, [], np.empty(0, np.int64), [], [])
            for layer in layers_of(described)
            for parameter in layer.parameters
            if parameter.role in wanted
        }
        if not tracked:
            raise MismatchError(f"none of the {len(weights)} tensors given is a weight")
        return tracked

    def _checked(self, tracked: _Tracked, weights: Mapping[str, Any], step: int) -> Tensor:
        """Return one tensor of an update, once nothing speaks against measuring it."""
        name, expected = tracked.parameter.name, tracked.parameter.shape
        if name not in weights:
            raise MismatchError(
                f"parameter {name!r} is missing at step {step}; it was there at the first one"
            )
        tensor = as_tensor(weights[name])
        if tuple(tensor.shape) != expected:
            raise ShapeMismatchError(name, expected, tuple(tensor.shape), where=f"step {step}")
        dtype = str(tensor.dtype).removeprefix("torch.")
        if not is_measurable(dtype):
            raise UnsupportedDtypeError(
                f"parameter {name!r} cannot be tracked at step {step}: {dtype} values have no "
                "known scale and zero point; leave it out of the mapping"
            )
        if self._strict and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(f"parameter {name!r} holds NaN or infinity at step {step}")
        return tensor

    def _measure(self, tracked: _Tracked, values: Tensor) -> None:
        flat = values.reshape(-1)
        dtype = widened_dtype(values.dtype)
        pieces = list(pieces_of(partition(tracked.parameter.shape), 0, flat.numel(), dtype))
        sums = []
        for number, (first, rows, columns) in enumerate(pieces):
            stretch = flat[first : first + rows * columns].view(rows, columns)
            if not self._steps:
                state, part = start_block(stretch.to(dtype, copy=True))
                state.previous = state.reference.clone()
                tracked.states.append(state)
            else:
                state = tracked.states[number]
                current = self._scratch.buffer("current", stretch, dtype)
                current.copy_(stretch)
                part = measure_step(state, current, self._scratch)
                state.previous.copy_(current)
            sums.append(part)
        if not self._steps:
            tracked.sizes = np.array([c for _, r, c in pieces for _ in range(r)], dtype=np.int64)
        empty = torch.zeros((0, len(SUMS)), dtype=torch.float64)
        tracked.pending.append(torch.cat(sums) if sums else empty)
        if values.device.type == "cpu" or len(tracked.pending) >= PENDING_STEPS:
            tracked.fold()
