"""Training figures given beside the weights: loss, accuracy and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from accweight_core.arguments import brief
from accweight_core.errors import ArgumentTypeError


def figures_of(given: Mapping[str, Any]) -> dict[str, Callable[[], float]]:
    """Return figures by name, to be fetched later, as reading them may wait for a device.

    Args:
        given: Numbers, or tensors and arrays of one element; None where there is no figure.

    Returns:
        Functions that return the figure, which may be NaN or infinite.

    Raises:
        ArgumentTypeError: If one is no number.
    """
    return {name: _fetched(name, value) for name, value in given.items() if value is not None}


def _fetched(name: str, value: Any) -> Callable[[], float]:
    if isinstance(value, Tensor) and value.device.type != "cpu" and value.numel() == 1:
        kept = value.detach().clone()  # the loop may go on adding to its own
        return lambda: float(kept)
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        number = float(value.detach() if isinstance(value, Tensor) else value)
    except Exception:  # whatever the class of the value raises
        raise ArgumentTypeError(
            f"{name} must be a number, or a tensor of one element, got {brief(value)}"
        ) from None
    return lambda: number
