"""The formulas on tensors of torch; what they are for is said in `kernels`.

The plain ones take NumPy arrays as well, and work on them as tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core.errors import ArgumentTypeError, MismatchError, UnsupportedDtypeError
from accweight_core.metrics.sums import SUMS

_WIDENED = {
    torch.float64: torch.float64,
    torch.complex32: torch.complex64,
    torch.complex64: torch.complex64,
    torch.complex128: torch.complex128,
}


Values = TypeVar("Values", Tensor, npt.NDArray[Any])
"""A tensor, or a NumPy array."""


def _tensor(values: Tensor | npt.NDArray[Any], *, is_written: bool = False) -> Tensor:
    """Return a tensor itself, or one with the values of an array.

    Args:
        values: Either.
        is_written: Whether the array itself is to be changed.
    """
    if isinstance(values, Tensor):
        return values
    if isinstance(values, np.generic):  # what an array without axes turns into
        values = np.asarray(values)
    if not isinstance(values, np.ndarray):
        raise ArgumentTypeError(
            f"expected a torch tensor or a NumPy array, got {type(values).__name__}; "
            "make one of it, with numpy.asarray for instance"
        )
    if is_written and not values.flags.writeable:
        raise ArgumentTypeError("the array is written to, and is read-only; give a copy")
    try:
        return torch.from_numpy(values if values.flags.writeable else values.copy())
    except ValueError:  # the other byte order, or an axis that runs backwards
        if is_written:
            raise ArgumentTypeError(
                "the array is written to, and torch cannot share its memory; give a copy in C "
                "order and native byte order"
            ) from None
        return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), order="C"))
    except TypeError:
        raise UnsupportedDtypeError(
            f"torch has no arrays of dtype {values.dtype}; widen it with astype, or give a tensor"
        ) from None


def _like(result: Tensor, given: object) -> Any:
    """Return a result as what was given: a tensor, or an array."""
    return result if isinstance(given, Tensor) else result.numpy()


def widened_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which weights of `dtype` are subtracted: float32 at least.

    Raises:
        UnsupportedDtypeError: If `dtype` is an integer or bool, which has no meaning as a weight.
    """
    if not (dtype.is_floating_point or dtype.is_complex):
        raise UnsupportedDtypeError(
            f"weights of dtype {dtype} have no scale; dequantise them first"
        )
    return _WIDENED.get(dtype, torch.float32)


def step_change(previous: Values, current: Values) -> Values:
    """Return ``abs(current - previous)``, widened first.

    Args:
        previous: Weights at step t-1, any shape, any floating or complex dtype.
        current: Weights at step t, same shape.

    Returns:
        Same shape, real, float32 (float64 for float64 and complex128 weights), in the unit
        of the weights. The modulus of the difference for complex weights.

    Raises:
        MismatchError: If the shapes differ.
        ArgumentTypeError: If it is given neither tensors nor arrays.

    >>> step_change(torch.tensor([1.0, -2.0]), torch.tensor([1.5, 2.0]))
    tensor([0.5000, 4.0000])
    >>> step_change(np.array([1.0, -2.0]), np.array([1.5, 2.0]))
    array([0.5, 4. ])
    """
    changed: Values = _like(_step_change(_tensor(previous), _tensor(current)), previous)
    return changed


def _step_change(previous: Tensor, current: Tensor) -> Tensor:
    if previous.shape != current.shape:
        raise MismatchError(f"shapes differ: {tuple(previous.shape)} and {tuple(current.shape)}")
    dtype = torch.promote_types(widened_dtype(previous.dtype), widened_dtype(current.dtype))
    return (current.to(dtype) - previous.to(dtype)).abs()


def accumulate_(total: Values, previous: Values, current: Values) -> Values:
    """Add ``step_change(previous, current)`` to `total` in place and return it.

    Args:
        total: Cumulative change so far, A_{t-1}; real, float32 or float64. With float64 the
            sum is exact to the last digit of float32 over any number of steps.
        previous: Weights at step t-1.
        current: Weights at step t.

    Raises:
        MismatchError: If the shapes differ.
        ArgumentTypeError: If `total` is an array that cannot be written to.
    """
    moved = _step_change(_tensor(previous), _tensor(current))
    _tensor(total, is_written=True).add_(moved)
    return total


def accumulate_compensated_(
    total: Values, compensation: Values, previous: Values, current: Values
) -> Values:
    """Add ``step_change(previous, current)`` to the sum `total` + `compensation`, both in place.

    For devices where float64 is slow or missing: two float32 hold A_t about as exactly as the
    step changes themselves are rounded, over any number of steps, where one float32 would stop
    growing once a step is below half a unit in its last place (``docs/accuracy.md``).
    Kahan's sum, with Knuth's error of an addition, so that it matters not which term is larger.

    Args:
        total: Cumulative change so far, A_{t-1}, rounded; real, as wide as the step change.
        compensation: What `total` lacks; same shape and dtype, 0 at first.
        previous: Weights at step t-1.
        current: Weights at step t.

    Returns:
        `total`. The sum is ``total.double() + compensation.double()``.

    >>> total, compensation = torch.full((1,), 2.0**24), torch.zeros(1)
    >>> for _ in range(3):
    ...     _ = accumulate_compensated_(total, compensation, torch.zeros(1), torch.ones(1))
    >>> float(total.double() + compensation.double() - 2**24)
    3.0
    """
    rounded, lacking = (_tensor(part, is_written=True) for part in (total, compensation))
    _compensated(rounded, lacking, _step_change(_tensor(previous), _tensor(current)))
    return total


def _compensated(total: Tensor, compensation: Tensor, moved: Tensor) -> Tensor:
    """Add `moved` to `total` + `compensation`, in place."""
    added = compensation.add_(moved)
    after = total + added
    grown = after - total
    lost = total.sub_(after - grown)
    compensation.sub_(grown).add_(lost)
    return total.copy_(after)


def normalised(total: Values, maximum: float) -> Values:
    """Return ``total / maximum``, and zeros where `maximum` is 0 (nothing moved)."""
    path = _tensor(total)
    shares: Values = _like(path / maximum if maximum > 0 else torch.zeros_like(path), total)
    return shares


class Scratch:
    """Buffers that are made once and used again; fresh ones would cost more than the sums."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def buffer(self, name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return room of the shape of `like`; the same name hands out the same memory."""
        key = (name, dtype, like.device)
        if key not in self._buffers or self._buffers[key].numel() < like.numel():
            self._buffers[key] = torch.empty(like.numel(), dtype=dtype, device=like.device)
        return self._buffers[key][: like.numel()].view(like.shape)


@dataclass
class BlockState:
    """What a block carries from step to step; block-shaped tensors are (rows, columns).

    Attributes:
        reference: W_0, widened. An element that is not finite there takes its first finite
            value as its reference.
        reference_square: Sum of squares of each row of `reference`, float64.
        previous: Last finite value of every element; may be `reference` itself at first.
        total: A_t, float64.
        unseen: Elements that have not been finite yet; None when there are none.
        compensation: What `total` lacks of A_t where it is not float64; None where it is.
            Sums over a row are then taken in the dtype of `total` as well.
    """

    reference: Tensor
    reference_square: Tensor
    previous: Tensor
    total: Tensor
    unseen: Tensor | None = None
    compensation: Tensor | None = None


def start_block(weights: Tensor, *, compensated: bool = False) -> tuple[BlockState, Tensor]:
    """Begin a block with its weights at the reference step.

    Args:
        weights: W_0, widened, (rows, columns). Kept as the reference, not copied; elements
            that are not finite are set to 0 in place until they are.
        compensated: Do without float64 (for weights that are not float64 themselves).

    Returns:
        The state, and the partial sums of step 0: all zero but `square`,
        `reference_square` and `nonfinite`.
    """
    dtype = weights.dtype.to_real() if compensated else torch.float64
    sums = torch.zeros((weights.shape[0], len(SUMS)), dtype=dtype, device=weights.device)
    column = _columns(sums)
    bad = ~torch.isfinite(weights)
    column["nonfinite"].copy_(bad.sum(dim=1))
    unseen = bad if bool(bad.any()) else None
    if unseen is not None:
        weights.masked_fill_(unseen, 0)
    square = squares(weights, dtype)
    column["square"].copy_(square)
    column["reference_square"].copy_(square)
    if weights.is_complex():
        column["flips"].fill_(torch.nan)
    total = torch.zeros(weights.shape, dtype=dtype, device=weights.device)
    compensation = torch.zeros_like(total) if compensated else None
    return BlockState(weights, square, weights, total, unseen, compensation), sums


def measure_step(state: BlockState, current: Tensor, scratch: Scratch) -> Tensor:
    """Advance a block by one step: accumulate, and return the partial sums of all metrics.

    An element that is not finite counts as not having moved: it is replaced in `current` by
    its last finite value and reported in `nonfinite`.

    Args:
        state: The block so far; `total` is updated. To go on, the caller makes `current`
            the next `previous` (or swaps the two buffers).
        current: W_t, widened, (rows, columns).
        scratch: Buffers to use.

    Returns:
        (rows, len(SUMS)), of the dtype of the state's `total`.
    """
    dtype = state.total.dtype
    real = scratch.buffer("real", current, current.dtype.to_real())
    double = scratch.buffer("double", current, dtype)
    double2 = scratch.buffer("double2", current, dtype)
    sums = torch.zeros((current.shape[0], len(SUMS)), dtype=dtype, device=current.device)
    column = _columns(sums)
    _weigh(state, current, column, double, double2)

    _distance(current, state.previous, real)
    column["step_max"].copy_(torch.amax(real, 1))
    double.copy_(real)
    if state.compensation is None:
        state.total.add_(double)
    else:
        _compensated(state.total, state.compensation, double)
    _sum_and_square(double, double2, column["step_sum"], column["step_square"])

    _distance(current, state.reference, real)
    double.copy_(real)
    _sum_and_square(double, double2, column["net_sum"], column["net_square"])

    _spread(state, double, double2, column)
    _count_flips(current, state.reference, (real, double), column["flips"])
    return sums


def _columns(sums: Tensor) -> dict[str, Tensor]:
    """Return the columns of `sums` by name, as views."""
    return dict(zip(SUMS, sums.unbind(1), strict=True))


def _distance(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write ``abs(left - right)`` to the real tensor `out`."""
    if left.is_complex():
        torch.abs(left - right, out=out)
    else:
        torch.sub(left, right, out=out).abs_()


def _sum_and_square(double: Tensor, double2: Tensor, total: Tensor, square: Tensor) -> None:
    """Write each row's sum and sum of squares."""
    torch.sum(double, 1, out=total)
    torch.mul(double, double, out=double2)
    torch.sum(double2, 1, out=square)


def squares(weights: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return each row's sum of squares, of both parts of complex weights."""
    if weights.is_complex():
        weights = torch.view_as_real(weights).flatten(1)
    wide = weights.to(dtype)
    return (wide * wide).sum(1)


def _weigh(
    state: BlockState, current: Tensor, column: dict[str, Tensor], double: Tensor, double2: Tensor
) -> None:
    """Fill `square`, `reference_square` and `nonfinite`; mend `current` where not finite.

    The squares are needed anyway, and are finite only if every element is: on a CPU the
    common case costs no look of its own. On a device that look would wait for the device,
    so there the mending always runs.
    """
    square = _squares_in(double, double2, current)
    whole = current.device.type == "cpu" and bool(np.isfinite(square.numpy()).all())
    if state.unseen is not None or not whole:
        mend(state, current, column["nonfinite"])
        square = _squares_in(double, double2, current)
    column["square"].copy_(square)
    column["reference_square"].copy_(state.reference_square)


def _squares_in(double: Tensor, double2: Tensor, weights: Tensor) -> Tensor:
    """Return `squares` in buffers that are there already."""
    if weights.is_complex():
        return squares(weights, double.dtype)
    return torch.mul(double.copy_(weights), double, out=double2).sum(1)


def mend(state: BlockState, current: Tensor, nonfinite: Tensor) -> None:
    """Count non-finite elements, give them their last finite value, greet first finite ones.

    Args:
        state: The block before the step.
        current: W_t, changed in place.
        nonfinite: (rows,) float64, written.
    """
    bad = ~torch.isfinite(current)
    nonfinite.copy_(bad.sum(dim=1))
    if state.unseen is not None:
        first = state.unseen & ~bad
        state.reference.copy_(torch.where(first, current, state.reference))
        state.previous.copy_(torch.where(first, current, state.previous))
        state.reference_square = squares(state.reference, state.reference_square.dtype)
        state.unseen = state.unseen & bad
    current.copy_(torch.where(bad, state.previous, current))


def _spread(state: BlockState, double: Tensor, double2: Tensor, column: dict[str, Tensor]) -> None:
    """Fill the `path_*` columns from A_t.

    Sums are taken of distances from the row's first element: where all elements have moved
    alike (sign descent does that) the spread is exactly 0 and not the rounding of a square.
    """
    total = state.total
    pivot = total[:, :1]
    torch.sub(total, pivot, out=double)
    if state.compensation is not None:
        double.add_(state.compensation)
    offset = double.sum(1)
    torch.mul(double, double, out=double2)
    elements = total.shape[1]
    column["path_m2"].copy_((double2.sum(1) - offset * offset / elements).clamp_(min=0))
    column["path_sum"].copy_(offset + pivot[:, 0] * elements)
    if total.device.type == "cpu":  # numpy's argmax is vectorised, torch's is 7 times slower
        index = torch.from_numpy(total.numpy().argmax(1))
    else:
        index = total.argmax(1)
    column["path_argmax"].copy_(index)
    column["path_max"].copy_(total.gather(1, index[:, None])[:, 0])


def _count_flips(
    current: Tensor, reference: Tensor, buffers: tuple[Tensor, Tensor], flips: Tensor
) -> None:
    """Count elements whose sign (-1, 0 or 1) is not that of the reference; NaN if complex."""
    if current.is_complex():
        flips.fill_(torch.nan)
        return
    real, double = buffers
    spare = double.view(real.dtype)[:, : real.shape[1]]  # there is room in what is as wide
    signs = torch.sign(current, out=real), torch.sign(reference, out=spare)
    if current.device.type == "cpu":  # numpy compares vectorised, torch is 10 times slower
        left, right = (sign.numpy() for sign in signs)
        counts = [np.count_nonzero(row) for row in left != right]
        flips.copy_(torch.tensor(counts))
    else:
        flips.copy_((signs[0] != signs[1]).sum(1))
