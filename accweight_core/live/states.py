"""The state of parameters from step to step, in the one form in which it is saved and resumed.

It is that of a stored analysis: reference, last weights and A_t of every parameter, flat, with NaN
in the reference where an element has never been finite. `batches` and `device_rows` arrange it in
rows for their kernels, and sums depend on a row alone, so that a run that is resumed, on any device
and in any arrangement, continues with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accweight_core.errors import ArgumentTypeError, ArgumentValueError, StoreError
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Parameter
from accweight_core.store.header import Header

STATE_FORMAT = 1
"""Increased when older versions could not continue from a state."""

SHARDED_FORMAT = 2
"""Likewise, of the state of a part of a model."""


@dataclass(frozen=True)
class WeightState:
    """The state of one parameter, or of some of its elements, flat and on the host.

    Attributes:
        reference: W_0, NaN where an element has never been finite.
        previous: Last finite value of every element.
        total: A_t; float64, or float32 with a compensation.
        compensation: A_t minus `total`; None for a float64 total.
    """

    reference: Tensor
    previous: Tensor
    total: Tensor
    compensation: Tensor | None = None

    def __getitem__(self, inside: slice) -> WeightState:
        """Return the state of some elements, as views."""
        lacking = None if self.compensation is None else self.compensation[inside]
        return WeightState(
            self.reference[inside], self.previous[inside], self.total[inside], lacking
        )

    @property
    def path(self) -> Floats:
        """A_t."""
        total = self.total.double()
        if self.compensation is not None:
            total = total + self.compensation.double()
        return total.numpy()

    def saved(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        parts = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: tensor for name, tensor in parts if tensor is not None}

    @classmethod
    def loaded(
        cls, found: Any, parameter: Parameter, *, compensated: bool, is_part: bool = False
    ) -> WeightState:
        """Return the state of a parameter, or of a part of it, that `saved` returned.

        Raises:
            ArgumentValueError: If it is not one of that parameter.
        """
        names = [f.name for f in fields(cls)][: 4 if compensated else 3]
        parts = [found.get(name) if isinstance(found, Mapping) else None for name in names]
        elements = parameter.elements
        if is_part and isinstance(parts[0], Tensor):
            elements = min(parts[0].numel(), elements)
        for name, part in zip(names, parts, strict=True):
            if not isinstance(part, Tensor) or part.shape != (elements,):
                got = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                raise ArgumentValueError(
                    f"the state of parameter {parameter.name!r} is damaged: expected its {name} as "
                    f"a tensor of {elements} elements, got {got}"
                )
        return cls(*(part.detach().cpu() for part in parts if part is not None))


def joined(parts: Sequence[WeightState]) -> WeightState:
    """Return the state of consecutive ranges of a parameter as one."""
    lacking = [part.compensation for part in parts if part.compensation is not None]
    return WeightState(
        torch.cat([part.reference for part in parts]),
        torch.cat([part.previous for part in parts]),
        torch.cat([part.total for part in parts]),
        torch.cat(lacking) if lacking else None,
    )


def opened(saved: Any, *, compensated: bool) -> tuple[Header | None, Floats]:
    """Return the header and the sums of a saved state, checked.

    Args:
        saved: What `Measuring.saved` returned.
        compensated: Whether the tracker avoids float64.

    Raises:
        ArgumentTypeError: If it is no state of a tracker.
        ArgumentValueError: If it is damaged, of a newer version, or of another precision.
    """
    if not isinstance(saved, Mapping) or "format" not in saved:
        raise ArgumentTypeError("expected the state_dict() of a tracker")
    if saved["format"] not in (STATE_FORMAT, SHARDED_FORMAT):
        raise ArgumentValueError(
            f"the state of the tracker has format {saved['format']!r}, this version reads "
            f"{STATE_FORMAT} and {SHARDED_FORMAT}; upgrade accweight"
        )
    precision = "compensated" if compensated else "float64"
    if saved.get("precision") != precision:
        raise ArgumentValueError(
            f"the state has precision {saved.get('precision')!r}, the tracker {precision!r}"
        )
    header, sums = saved.get("header"), saved.get("sums")
    if not isinstance(header, str) or not isinstance(sums, Tensor):
        raise ArgumentValueError("the state of the tracker is damaged")
    if not header:
        return None, np.empty((0, 0, len(SUMS)))
    try:
        found = Header.from_json(json.loads(header), "the state of the tracker")
    except (ValueError, StoreError) as error:
        raise ArgumentValueError(f"the state of the tracker is damaged ({error})") from error
    shape = len(found.checkpoints), len(found.parameters), len(SUMS)
    if tuple(sums.shape) != shape or found.sums != SUMS:
        raise ArgumentValueError(
            f"the state of the tracker is damaged: expected sums of shape {shape}, "
            f"got {tuple(sums.shape)}"
        )
    return found, sums.detach().cpu().double().numpy().copy()
