"""Batches: sub-blocks of many tensors measured together, to save kernel launches.

A network has thousands of tensors of a few hundred weights, and launching an operation takes longer
than an operation of that size. Rows are independent, so rows of equal length from any parameters
can be measured together, with the same bits; and a network has few lengths. The number of
launches per step then depends only on the number of lengths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core import kernels
from accweight_core.accumulate.cutting import PIECE_ELEMENTS, Stretch, pieces_of
from accweight_core.kernels import SUMS, BlockState, Scratch, partition, widened_dtype
from accweight_core.live.device_rows import DeviceRows, is_aligned, serves
from accweight_core.live.one_pass import measure_step, squares, start_block
from accweight_core.live.paths import Paths
from accweight_core.live.rooms import Memory, Part, Room
from accweight_core.live.states import WeightState, joined
from accweight_core.metrics.totals import Floats, Totals

BATCH_ELEMENTS_CPU = 1 << 18
"""Most elements of a batch on a CPU: calls are cheap there, and the batch fits the caches."""

BATCH_ELEMENTS = 1 << 22
"""Most elements on other devices: enough to hide the launches; 100 MB of shared buffers."""


@dataclass
class Batch:
    """Sub-blocks of equal length, dtype and device, measured together.

    Attributes:
        columns: Elements of a sub-block.
        dtype: Dtype of the subtraction.
        device: Device of the weights.
        stretches: The parameters they belong to, in row order.
        rows: Number of sub-blocks.
        state: State carried from step to step; None before the first step.
    """

    columns: int
    dtype: torch.dtype
    device: torch.device
    stretches: list[Stretch] = field(default_factory=list)
    rows: int = 0
    state: BlockState | None = None

    def has_room(self, elements: int) -> bool:
        """Tell whether this number of elements can be added.

        On a CPU every complex sub-block has a batch of its own, as in `pieces_of`.
        """
        if self.dtype.is_complex and self.device.type == "cpu":
            return not self.rows
        most = BATCH_ELEMENTS_CPU if self.device.type == "cpu" else BATCH_ELEMENTS
        return not self.rows or self.rows * self.columns + elements <= most

    def add(self, name: str, first: int, rows: int, columns: int) -> Stretch:
        """Append sub-blocks of a parameter."""
        stretch = Stretch(name, first, self.rows, rows, columns)
        self.stretches.append(stretch)
        self.rows += rows
        return stretch

    def gather(self, weights: Mapping[str, Tensor], out: Tensor) -> Tensor:
        """Copy the weights of every stretch into `out`, with as few launches as possible."""
        sizes = [stretch.rows * self.columns for stretch in self.stretches]
        parts = [
            weights[stretch.name][stretch.first : stretch.first + size]
            for stretch, size in zip(self.stretches, sizes, strict=True)
        ]
        torch._foreach_copy_(torch.split_with_sizes(out.view(-1), sizes), parts)
        return out

    def state_of(self, stretch: Stretch) -> WeightState:
        """Return a copy of the state of a stretch, which has been measured before."""
        if self.state is None:
            raise ValueError("nothing has been measured yet")
        rows, state = slice(stretch.row, stretch.row + stretch.rows), self.state
        reference = state.reference[rows]
        if state.unseen is not None:
            reference = reference.masked_fill(state.unseen[rows], math.nan)
        lacking = state.compensation
        return WeightState(
            _fetched(reference),
            _fetched(state.previous[rows]),
            _fetched(state.total[rows]),
            None if lacking is None else _fetched(lacking[rows]),
        )

    def path_of(self, stretch: Stretch) -> Tensor:
        """Return A_t of a stretch, flat, as a view if it is one tensor."""
        if self.state is None:
            raise ValueError("nothing has been measured yet")
        rows, lacking = slice(stretch.row, stretch.row + stretch.rows), self.state.compensation
        total = self.state.total[rows].view(-1)
        return total if lacking is None else total.double() + lacking[rows].view(-1)

    def empty(self, room: Room, part: Part, dtype: torch.dtype) -> Tensor:
        """Return a tensor for a part of the state."""
        shape = self.rows, self.columns
        if self.device.type == "cpu":
            return room.empty(part, shape, dtype)
        return torch.empty(shape, dtype=dtype, device=self.device)

    def restore(self, parts: Sequence[WeightState], room: Room) -> None:
        """Continue from an earlier state.

        Args:
            parts: State of every stretch, in order.
            room: Where to keep it.
        """
        state, shape = joined(parts), (self.rows, self.columns)

        def placed(part: Part, flat: Tensor, dtype: torch.dtype) -> Tensor:
            return self.empty(room, part, dtype).copy_(flat.view(shape))

        reference, lacking = placed("reference", state.reference, self.dtype), state.compensation
        unseen = reference.isnan()
        reference.masked_fill_(unseen, 0)
        self.state = BlockState(
            reference,
            squares(reference, state.total.dtype),
            placed("previous", state.previous, self.dtype),
            placed("total", state.total, state.total.dtype),
            unseen if bool(unseen.any()) else None,
            None if lacking is None else placed("total", lacking, lacking.dtype),
        )


class Batches:
    """All parameters of a network in batches, with their states."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        compensated: bool = False,
        room: Room | None = None,
    ) -> None:
        """Plan batches for the weights of the reference step.

        Args:
            weights: Tensors by name, with the dtypes and devices of all later steps.
            compensated: Whether to avoid float64.
            room: Where the state of weights on a CPU is kept; in memory if None.
        """
        self._compensated = compensated
        self._room = room or Memory()
        self._scratch = Scratch()
        self._batches: list[Batch | DeviceRows] = []
        self._where: dict[str, list[tuple[Batch | DeviceRows, Stretch]]] = {n: [] for n in weights}
        self._empty = {n: _nothing(t, compensated) for n, t in weights.items() if not t.numel()}
        latest: dict[object, Batch | DeviceRows] = {}
        for name, tensor in weights.items():
            cut = partition(tuple(tensor.shape))
            dtype, device = widened_dtype(tensor.dtype), tensor.device
            where_they_lie = serves(tensor, compensated=compensated)
            most = 1 if dtype.is_complex else max(1, PIECE_ELEMENTS // cut.sub_block)
            for first, rows, columns in pieces_of(cut, 0, tensor.numel(), most):
                key: tuple[object, ...] = columns, dtype, device
                if where_they_lie:
                    key = tensor.dtype, device, is_aligned(tensor, first, columns)
                if key not in latest or not latest[key].has_room(rows * columns):
                    latest[key] = (
                        DeviceRows(device, tensor.dtype, compensated=compensated)
                        if where_they_lie
                        else Batch(columns, dtype, device)
                    )
                    self._batches.append(latest[key])
                self._where[name].append((latest[key], latest[key].add(name, first, rows, columns)))

    @property
    def on_cpu(self) -> bool:
        """Whether all tensors are on a CPU, so that results need no transfer."""
        return all(batch.device.type == "cpu" for batch in self._batches)

    def take(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Measure one step; return the partial sums of each batch, on its device.

        Does not wait for a device, except at the reference step.
        """
        flat = {name: tensor.reshape(-1) for name, tensor in weights.items()}
        return [self._measured(batch, flat) for batch in self._batches]

    def _measured(self, batch: Batch | DeviceRows, flat: Mapping[str, Tensor]) -> Tensor:
        if isinstance(batch, DeviceRows):
            return batch.take(flat)
        if batch.state is None:
            start = batch.gather(flat, batch.empty(self._room, "reference", batch.dtype))
            if self._compensated:
                batch.state, sums = kernels.start_block(start, compensated=True)
            else:
                total = batch.empty(self._room, "total", torch.float64)
                batch.state, sums = start_block(start, total)
            batch.state.previous = batch.empty(self._room, "previous", batch.dtype).copy_(start)
            return sums
        room = self._scratch.buffer("current", batch.state.reference, batch.dtype)
        current = batch.gather(flat, room)
        sums = measure_step(batch.state, current, self._scratch)
        batch.state.previous.copy_(current)
        return sums

    def totals(self, sums: list[Tensor]) -> Floats:
        """Copy the result of `take` to the host and merge it: (parameters, len(SUMS)), in order."""
        values = np.zeros((len(self._where), len(SUMS)))
        for index, (elements, rows) in enumerate(self.rows(sums).values()):
            totals = Totals.empty(1)
            totals.extend(elements, rows[None])
            values[index] = totals.values[0]
        return values

    def rows(self, sums: list[Tensor]) -> dict[str, tuple[npt.NDArray[np.int64], Floats]]:
        """Copy the result of `take` to the host.

        Returns:
            By parameter, the elements of each sub-block, and the sums, (sub-blocks, len(SUMS)).
        """
        fetched = {
            id(batch): part.cpu().double().numpy()
            for batch, part in zip(self._batches, sums, strict=True)
        }
        nothing = np.empty((0, len(SUMS)))
        found = {}
        for name, stretches in self._where.items():
            rows = [fetched[id(b)][s.row : s.row + s.rows] for b, s in stretches]
            sizes = [s.columns for _, s in stretches for _ in range(s.rows)]
            found[name] = np.array(sizes, dtype=np.int64), np.concatenate([nothing, *rows])
        return found

    def state(self, name: str) -> WeightState:
        """Return a copy of the state of a parameter after the last step."""
        parts = [batch.state_of(stretch) for batch, stretch in self._where[name]]
        return joined(parts) if parts else self._empty[name]

    def paths(self) -> Paths:
        """Return A_t of all parameters after the last step, as views that change with the next."""
        return Paths(
            {
                name: [(stretch.first, batch.path_of(stretch)) for batch, stretch in parts]
                for name, parts in self._where.items()
            }
        )

    def restore(self, states: Mapping[str, WeightState]) -> None:
        """Continue from the state of every parameter, before the first `take`."""
        for batch in self._batches:
            parts = [states[stretch.name][stretch.inside] for stretch in batch.stretches]
            if isinstance(batch, DeviceRows):
                batch.restore(parts)
            else:
                batch.restore(parts, self._room)


def _nothing(weights: Tensor, compensated: bool) -> WeightState:
    """Return the state of a parameter without elements."""
    flat = torch.empty(0, dtype=widened_dtype(weights.dtype))
    total = torch.empty(0, dtype=torch.float32 if compensated else torch.float64)
    return WeightState(flat, flat, total, total if compensated else None)


def _fetched(rows: Tensor) -> Tensor:
    """Return a flat copy on the host."""
    return rows.detach().to("cpu", copy=True).reshape(-1)
