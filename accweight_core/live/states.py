"""The state of parameters from step to step, in the one form in which it is saved and resumed.

It is that of a stored analysis: reference, last weights and A_t of every parameter, flat, with NaN
in the reference where an element has never been finite. `batches` and `device_rows` arrange it in
rows for their kernels, and sums depend on a row alone, so that a run that is resumed, on any device
and in any arrangement, continues with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from accweight_core.errors import ArgumentValueError
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Parameter


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
    def loaded(cls, found: Any, parameter: Parameter, *, compensated: bool) -> WeightState:
        """Return the state of a parameter that `saved` returned.

        Raises:
            ArgumentValueError: If it is not one of that parameter.
        """
        names = [f.name for f in fields(cls)][: 4 if compensated else 3]
        parts = [found.get(name) if isinstance(found, Mapping) else None for name in names]
        for name, part in zip(names, parts, strict=True):
            if not isinstance(part, Tensor) or part.shape != (parameter.elements,):
                got = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                raise ArgumentValueError(
                    f"the state of parameter {parameter.name!r} is damaged: expected its {name} as "
                    f"a tensor of {parameter.elements} elements, got {got}"
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
