"""Windows that convolutions and pooling move over an input: strides, dilations, padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from accweight_adapters.execution.limits import check_size
from accweight_adapters.execution.operators.shapes import with_margin
from accweight_adapters.execution.operators.table import Node

MOST_PLACES = 1 << 30
"""Largest stride, dilation, pad and length of a window."""

MOST_AXES = 3
"""Spatial axes that torch has convolutions and pooling for."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window with one entry per spatial axis.

    Attributes:
        kernel: Its lengths.
        strides: Steps between its places.
        dilations: Distances of neighbouring elements in it.
        pads: Widths of the margin: those before all axes, then those after; None if `auto` says.
        auto: "SAME_UPPER" or "SAME_LOWER" for as many places as strides allow, "VALID" for no
            margin, "NOTSET" for `pads`.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto: str

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def reach(self) -> tuple[int, ...]:
        """Lengths of the window with its gaps."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def margins(self, lengths: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths of the margin before and after each axis of these lengths."""
        if not self.auto.startswith("SAME"):
            return self.pads[: self.axes], self.pads[self.axes :]
        totals = [
            max(0, (-(-n // s) - 1) * s + r - n)
            for n, s, r in zip(lengths, self.strides, self.reach, strict=True)
        ]
        smaller, larger = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        return (smaller, larger) if self.auto == "SAME_UPPER" else (larger, smaller)


def window_of(node: Node, kernel: Sequence[int]) -> Window:
    """Return the window of a node.

    Raises:
        UnsupportedOperatorError: If torch has nothing for that many axes, or attributes disagree.
    """
    axes = len(kernel)
    if not 1 <= axes <= MOST_AXES:
        raise node.refused(f"works on {axes} spatial axes; 1 to {MOST_AXES} are known here")
    auto = node.only("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", default="NOTSET")
    pads = node.get("pads") if auto == "NOTSET" else None
    window = Window(
        tuple(kernel),
        tuple(node.get("strides") or (1,) * axes),
        tuple(node.get("dilations") or (1,) * axes),
        tuple(pads or (0,) * (2 * axes)),
        auto,
    )
    if not len(window.strides) == len(window.dilations) == len(window.pads) / 2 == axes:
        raise node.refused(f"has strides, dilations or pads of another rank than its window {axes}")
    numbers = (*window.strides, *window.dilations, *window.kernel)
    if min(numbers) < 1 or max(*numbers, *map(abs, window.pads)) > MOST_PLACES:
        raise node.refused(f"has strides, dilations, pads or a window outside 1 to {MOST_PLACES}")
    return window


def spatial_margin(
    node: Node, x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0
) -> Tensor:
    """Return an input with a margin along its spatial axes."""
    lengths = [n + b + a for n, b, a in zip(x.shape[2:], before, after, strict=True)]
    check_size(node.type, (*x.shape[:2], *lengths), x.element_size())
    return with_margin(x, before, after, value)
