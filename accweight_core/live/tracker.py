"""Track the change of a model while it trains, on the device of its weights.

Unlike the block walk, it takes all parameters at one step, then the next step. Per weight it keeps
the reference and the previous value (float32) and the cumulative change (float64), 16 bytes in all,
and calls the same kernels on the same sub-blocks, those of many tensors at a time (`batches`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.event_log import flat_summary
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.sources import Live
from accweight_core.analysis.summary import completed, measured
from accweight_core.arguments import (
    checked_choice,
    checked_names,
    checked_roles,
    checked_step,
    checked_text,
    checked_values,
)
from accweight_core.dtypes import is_measurable
from accweight_core.errors import (
    MismatchError,
    NonFiniteError,
    ShapeMismatchError,
    SourceError,
    StepOrderError,
    UnsupportedDtypeError,
)
from accweight_core.live.batches import Batches
from accweight_core.live.tensors import as_tensor
from accweight_core.live.update_log import UpdateLog
from accweight_core.metrics.totals import Floats
from accweight_core.naming import layers_of, parameter_called
from accweight_core.schema import (
    DEFAULT_ROLES,
    MEASURED_ROLES,
    HiddenValues,
    Parameter,
    Role,
    StoredTensor,
)
from accweight_core.store.header import Header
from accweight_core.store.records import CheckpointRecord

PENDING_STEPS = 64
"""Steps whose sums are left on the device before they are fetched, so that training never waits."""

Precision = Literal["float64", "compensated"]


class ChangeTracker:
    """Accumulates the change of every weight, with one `update` per step.

    >>> tracker = ChangeTracker()
    >>> for step in range(3):
    ...     _ = tracker.update({"fc.weight": np.full((2, 2), step / 4)}, step=step)
    >>> float(tracker.analysis().ranking()["mean"][0])
    0.5
    """

    def __init__(
        self,
        *,
        strict: bool = False,
        roles: tuple[Role, ...] = DEFAULT_ROLES,
        precision: Precision = "float64",
    ) -> None:
        """Create it without weights; the first `update` sets the reference.

        Args:
            strict: Raise at the first non-finite element instead of counting it; every update then
                waits for the device.
            roles: Roles in layers, rankings and the maximum.
            precision: Precision of A_t and of the sums of a sub-block: ``"float64"`` has the same
                bits as the walk over files; ``"compensated"`` keeps two float32 per weight, which
                do not stagnate either, for devices where float64 is slow or missing
                (``docs/accuracy.md``). Metrics then agree to about 1e-6.

        Raises:
            ArgumentValueError: If there is no such precision.
        """
        checked_choice(precision, get_args(Precision), "precision")
        self._strict = strict
        self._roles = checked_roles(roles)
        self._compensated = precision == "compensated"
        self._steps: list[int] = []
        self._parameters: dict[str, Parameter] = {}
        self._batches = Batches({})
        self._pending: list[list[Tensor]] = []
        self._folded: list[Floats] = []
        self._logs: list[UpdateLog] = []

    @torch.no_grad()
    def update(self, weights: Mapping[str, Any], step: int | None = None) -> ChangeTracker:
        """Add the weights of one step; they are neither kept nor modified.

        Args:
            weights: ``model.state_dict()``, or any mapping of name to tensor or array.
            step: A step larger than the one before; by default the number of updates so far.

        Returns:
            Self.

        Raises:
            StepOrderError: If `step` is not larger than the last one.
            MismatchError: If a parameter is missing or has another shape.
            NonFiniteError: If an element is not finite and the tracker is strict.
        """
        step = (self._steps[-1] + 1 if self._steps else 0) if step is None else checked_step(step)
        checked_names(weights, f"at step {step}")
        if self._steps and step <= self._steps[-1]:
            raise StepOrderError(f"step {step} came after step {self._steps[-1]}; steps must grow")
        parameters = self._parameters or self._begun(weights)
        current = {name: self._checked(p, weights, step) for name, p in parameters.items()}
        if not self._steps:  # the arguments are valid from here on
            self._parameters = parameters
            self._batches = Batches(current, compensated=self._compensated)
        self._pending.append(self._batches.take(current))
        if self._batches.on_cpu or len(self._pending) >= PENDING_STEPS:
            self._fold()
        self._steps.append(step)
        for log in self._logs:
            log.log(self._shown())
        return self

    def analysis(self) -> Analysis:
        """Return the result so far, in memory; the tracker can go on.

        Exact cumulative changes are available for the last step only.

        Raises:
            MismatchError: If there have been fewer than two updates.
        """
        if len(self._steps) < 2:
            raise MismatchError(
                f"change needs at least two updates, there have been {len(self._steps)}"
            )
        source = self._source()
        values = source.values()
        header = completed(source.header, values)
        return Analysis(Live(header, values, source.latest))

    def summary(self) -> dict[str, float]:
        """Return the metrics of all layers at the last step, for wandb, MLflow and the like.

        Returns:
            ``{"accweight/LAYER/METRIC": value}``; undefined values are left out.

        Raises:
            MismatchError: If there has been no update.
        """
        if not self._steps:
            raise MismatchError("there has been no update yet, so there is nothing to sum up")
        return flat_summary(self._shown().rows, -1)

    def log_to(
        self,
        writer: Any,
        *,
        metrics: Sequence[str] = (),
        histograms: bool = True,
        pictures: bool = True,
    ) -> ChangeTracker:
        """Log every update from now on to a TensorBoard writer; each then waits for the device.

        Args:
            writer: A `SummaryWriter` of torch.utils.tensorboard or tensorboardX; it is not closed.
            metrics: Metrics to log; by default all.
            histograms: Also log how far the weights of each layer moved; this keeps 8 more bytes
                per weight, on the host, for layers of at most 4 million weights.
            pictures: Also log pictures of the layers, after 1, 2, 4, 8, ... updates.

        Returns:
            Self.

        Raises:
            ArgumentTypeError: If the writer lacks a method of a `SummaryWriter`.
            UnknownNameError: If there is no such metric.
        """
        log = UpdateLog(writer, metrics=metrics, histograms=histograms, pictures=pictures)
        self._logs.append(log)
        return self

    def _shown(self) -> Shown:
        """Return what is logged of the updates so far."""
        source = self._source()
        return Shown(source, measured(source.header, source.values()))

    def _source(self) -> Live:
        """Return the sums so far, and A_t of the last step."""
        self._fold()
        values = np.stack(self._folded)
        header = Header(
            source="live",
            reader="memory",
            checkpoints=tuple(
                CheckpointRecord(f"memory:{step}", step, "order given", "memory", 0, 0)
                for step in self._steps
            ),
            parameters=tuple(self._parameters.values()),
            roles=self._roles,
        )
        last = self._steps[-1]

        def latest(name: str) -> npt.NDArray[np.float64]:
            if self._steps[-1] != last:
                raise SourceError(
                    f"the tracker has gone on from step {last} to step {self._steps[-1]} and "
                    "keeps exact values of its last step only; call its analysis() again"
                )
            return self.cumulative(name)

        return Live(header, values, latest)

    def cumulative(self, name: str) -> npt.NDArray[np.float64]:
        """Return A_t of a parameter at the last step, in its own shape.

        Args:
            name: Name of the parameter, or of its layer.

        Raises:
            UnknownNameError: If it is not tracked; the message lists the tracked names.
        """
        checked_text(name, "a parameter")
        parameter = parameter_called(name, list(self._parameters.values()))
        return self._batches.path(parameter.name).reshape(parameter.shape)

    def _fold(self) -> None:
        """Fetch the sums left on devices and merge them, step by step."""
        self._folded += [self._batches.totals(sums) for sums in self._pending]
        self._pending.clear()

    def _begun(self, weights: Mapping[str, Any]) -> dict[str, Parameter]:
        """Return the parameters to track: those that `analyze` would measure."""
        described = []
        for name, value in weights.items():
            tensor = as_tensor(checked_values(name, value))
            dtype = str(tensor.dtype).removeprefix("torch.")
            hidden = HiddenValues(lambda: None, dtype, tuple(tensor.shape))
            described.append(StoredTensor(name, hidden))
        wanted = {*MEASURED_ROLES, *self._roles}
        tracked = {
            parameter.name: parameter
            for layer in layers_of(described)
            for parameter in layer.parameters
            if parameter.role in wanted
        }
        if not tracked:
            raise MismatchError(f"none of the {len(weights)} tensors given is a weight")
        return tracked

    def _checked(self, parameter: Parameter, weights: Mapping[str, Any], step: int) -> Tensor:
        """Return one tensor of an update after checking its shape, dtype and values."""
        name, expected = parameter.name, parameter.shape
        if name not in weights:
            raise MismatchError(
                f"parameter {name!r} is missing at step {step}; it was there at the first one"
            )
        tensor = as_tensor(checked_values(name, weights[name]))
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
