"""Rows on a GPU: sub-blocks of any number of tensors, measured in place in one launch.

`batches` copies rows of equal length into one block before it measures them, which costs a read and
a write of every weight. Here the kernel (`triton_step`) gets a table of the address of each row,
and rows may have any length. The table is rebuilt and sent again, through pinned memory and without
blocking, only when a tensor has moved.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core.accumulate.cutting import Stretch
from accweight_core.live.states import WeightState

if TYPE_CHECKING:
    from accweight_core.live.triton_step import Rows, RowState

DEVICES = ("cuda",)
"""Types of devices that are measured this way."""

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Dtypes of weights that are measured this way; others need float64 or have no GPU arithmetic."""

MOST_ELEMENTS = 1 << 28
"""Most elements per launch, so that no state tensor exceeds 2 GiB."""

ALIGNMENT = 16
"""The state of a row starts at a multiple of this many elements, its weights of this many bytes."""


def serves(tensor: Tensor, *, compensated: bool) -> bool:
    """Tell whether a parameter can be measured this way at all steps."""
    if tensor.device.type not in DEVICES or tensor.dtype not in DTYPES:
        return False
    return type(tensor) is Tensor and works(tensor.device, tensor.dtype, compensated)


@functools.cache
def works(device: torch.device, dtype: torch.dtype, compensated: bool) -> bool:
    """Tell whether the kernel works on a device: tried once on a few weights.

    Triton may be missing, lack a compiler, or not support the device; training must go on.
    """
    rows = DeviceRows(device, dtype, compensated=compensated)
    rows.add("", 0, 1, ALIGNMENT)
    try:
        if device.type == "cuda" and torch.version.hip:  # warps of 64: two threads per lane
            raise RuntimeError("it was written for warps of 32 threads")
        rows.take({"": torch.zeros(ALIGNMENT, dtype=dtype, device=device)})
    except Exception as error:  # whatever compilers and drivers raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        warnings.warn(
            f"weights on {device} are measured by plain torch operations, several times "
            f"slower than by the Triton kernel, which cannot be used: {reason}",
            stacklevel=2,
        )
        return False
    return True


def is_aligned(tensor: Tensor, first: int, columns: int) -> bool:
    """Tell whether consecutive rows of a tensor start and end at multiples of 16 bytes."""
    size = tensor.element_size()
    return (tensor.data_ptr() + first * size) % ALIGNMENT == columns * size % ALIGNMENT == 0


class DeviceRows:
    """Sub-blocks of one dtype and device, of any length, measured together."""

    def __init__(self, device: torch.device, dtype: torch.dtype, *, compensated: bool) -> None:
        """Create it without rows.

        Args:
            device: Device of the weights.
            dtype: Dtype of the weights, one of `DTYPES`; also that of the reference and previous
                values.
            compensated: Whether to avoid float64.
        """
        self.device = device
        self._dtype = dtype
        self._wide = torch.float32 if compensated else torch.float64
        self._compensated = compensated
        self._starts: dict[Stretch, int] = {}
        self._owners: dict[str, int] = {}
        self._count = self._room = 0
        self._state: RowState | None = None
        self._rows: Rows | None = None
        self._bases: list[int] = []

    def has_room(self, elements: int) -> bool:
        """Tell whether this number of elements can be added."""
        return not self._count or self._room + elements <= MOST_ELEMENTS

    def add(self, name: str, first: int, rows: int, columns: int) -> Stretch:
        """Append sub-blocks of a parameter."""
        stretch = Stretch(name, first, self._count, rows, columns)
        self._starts[stretch] = self._room
        self._owners.setdefault(name, len(self._owners))
        self._count += rows
        self._room += rows * _pitch(columns)
        return stretch

    @property
    def state(self) -> RowState:
        """State carried from step to step; allocated on first use."""
        if self._state is None:
            from accweight_core.live.triton_step import RowState

            def room(dtype: torch.dtype, value: float) -> Tensor:
                return torch.full((self._room,), value, dtype=dtype, device=self.device)

            self._state = RowState(
                room(self._dtype, 0),
                room(self._dtype, math.nan),
                room(self._wide, 0),
                room(self._wide, 0) if self._compensated else None,
            )
        return self._state

    def take(self, flat: Mapping[str, Tensor]) -> Tensor:
        """Measure one step, including the first; does not wait for the device.

        Args:
            flat: Every parameter, flat and contiguous, on the stream of the step before or on one
            that waits for it.

        Returns:
            (rows, len(SUMS)), on the device, maybe not computed yet.
        """
        from accweight_core.live.triton_step import measure_rows

        state = self.state
        parts = self._parts(flat)  # copies must live until the launch
        bases = [part.data_ptr() for part in parts]
        if self._rows is None or bases != self._bases:
            self._rows, self._bases = self._table(bases), bases
        return measure_rows(state, self._rows)

    @property
    def stretches(self) -> list[Stretch]:
        """The parameters the rows belong to, in row order."""
        return list(self._starts)

    def state_of(self, stretch: Stretch) -> WeightState:
        """Return a copy of the state of some rows, on the host."""
        state = self.state

        def fetched(part: Tensor) -> Tensor:
            return self._rows_of(part, stretch).to("cpu", copy=True).reshape(-1)

        reference, previous = fetched(state.reference).float(), fetched(state.previous).float()
        unseen = previous.isnan()
        return WeightState(
            reference.masked_fill_(unseen, math.nan),
            previous.masked_fill_(unseen, 0),
            fetched(state.total),
            None if state.compensation is None else fetched(state.compensation),
        )

    def path_of(self, stretch: Stretch) -> Tensor:
        """Return A_t of some rows, flat."""
        total = self._rows_of(self.state.total, stretch).reshape(-1)
        if self.state.compensation is None:
            return total
        return total.double() + self._rows_of(self.state.compensation, stretch).reshape(-1)

    def restore(self, parts: Sequence[WeightState]) -> None:
        """Continue from an earlier state.

        Args:
            parts: State of every stretch, in order.
        """
        for stretch, part in zip(self._starts, parts, strict=True):
            unseen = part.reference.isnan()
            reference, previous = part.reference, part.previous.masked_fill(unseen, math.nan)
            if not all(_fits(values, self._dtype) for values in (reference, previous)):
                self._widen()
            state = self.state
            pairs = [(state.reference, reference), (state.previous, previous)]
            pairs.append((state.total, part.total))
            if state.compensation is not None and part.compensation is not None:
                pairs.append((state.compensation, part.compensation))
            for target, values in pairs:
                rows = self._rows_of(target, stretch)
                rows.copy_(values.reshape(rows.shape))

    def _rows_of(self, part: Tensor, stretch: Stretch) -> Tensor:
        """Return the rows of a stretch in a tensor of the state, as a view."""
        start, pitch = self._starts[stretch], _pitch(stretch.columns)
        rows = part[start : start + stretch.rows * pitch].view(stretch.rows, pitch)
        return rows[:, : stretch.columns]

    def _parts(self, flat: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the parameters as the kernel can read them, as copies if necessary."""
        parts = [flat[name] for name in self._owners]
        if any(part.dtype != self._dtype for part in parts):
            self._widen()
        return [part if self._is_readable(part) else self._copied(part) for part in parts]

    def _is_readable(self, part: Tensor) -> bool:
        return part.dtype == self._dtype and part.device == self.device and type(part) is Tensor

    def _copied(self, part: Tensor) -> Tensor:
        return torch.empty(part.shape, dtype=self._dtype, device=self.device).copy_(part)

    def _widen(self) -> None:
        """Convert the state to float32, exactly, once the dtype of the weights changes."""
        self._dtype, self._rows = torch.float32, None
        self.state.reference = self.state.reference.float()
        self.state.previous = self.state.previous.float()

    def _table(self, bases: list[int]) -> Rows:
        """Return the addresses of the rows, for parameters that start at `bases`."""
        from accweight_core.live.triton_step import Rows

        stretches = list(self._starts)
        counts = [stretch.rows for stretch in stretches]
        lengths = np.repeat([stretch.columns for stretch in stretches], counts)
        pitches = np.repeat([_pitch(stretch.columns) for stretch in stretches], counts)
        within = np.concatenate([np.arange(count) for count in counts])
        size = self._dtype.itemsize
        owners = [bases[self._owners[stretch.name]] + stretch.first * size for stretch in stretches]
        addresses = np.repeat(owners, counts) + within * lengths * size
        starts = np.repeat(list(self._starts.values()), counts) + within * pitches
        return Rows(
            self._sent(addresses),
            self._sent(starts),
            self._sent(lengths.astype(np.int32)),
            aligned=not (addresses % ALIGNMENT).any() and not (lengths * size % ALIGNMENT).any(),
        )

    def _sent(self, values: npt.NDArray[np.integer]) -> Tensor:
        """Return host values on the device, copied through pinned memory without blocking."""
        tensor = torch.from_numpy(values)
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether values are the same in a dtype."""
    return torch.equal(values.to(dtype).to(values.dtype).nan_to_num(), values.nan_to_num())


def _pitch(columns: int) -> int:
    """Return the distance, in elements, between the starts of consecutive rows in the state."""
    return -(-columns // ALIGNMENT) * ALIGNMENT
