"""Rules that choose samples by their numbers and classes: ``x12>0.5``, ``mean<0.1``, ``y==3``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.arguments import brief
from accweight_core.errors import ArgumentValueError

Array = npt.NDArray[Any]

FORM = re.compile(r"(x(\d{1,9})|y|mean)(<=|>=|==|<|>)([-+.\deE]+)")
COMPARED: dict[str, Callable[[Array, float], Array]] = {
    "<": lt, "<=": le, ">": gt, ">=": ge, "==": eq,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """What a number of a sample is compared with.

    Attributes:
        what: "y" for the class, "mean" for the mean of all numbers, else "x" and the number.
        index: The number, counted from 0.
        compared: How.
        bound: With what.
    """

    what: str
    index: int
    compared: Callable[[Array, float], Array]
    bound: float

    @classmethod
    def of(cls, text: str) -> Rule:
        """Return the rule that a text is.

        Raises:
            ArgumentValueError: If it is none.
        """
        found = FORM.fullmatch(text)
        try:
            if found is not None:
                return cls(found[1], int(found[2] or 0), COMPARED[found[3]], float(found[4]))
        except ValueError:
            pass
        raise ArgumentValueError(f"rule {brief(text)} is none; expected x12>0.5, y==3 or mean<0.1")

    @property
    def of_y(self) -> bool:
        """Whether it is about the class of a sample."""
        return self.what == "y"

    def holds(self, x: Array, labels: Array | None) -> Array:
        """Return which samples it holds for.

        Args:
            x: (samples, numbers).
            labels: The class of each; None if they have none.

        Raises:
            ArgumentValueError: If the samples have no such number, or no classes.

        >>> Rule.of("x1>=2").holds(np.array([[0, 1], [0, 2]]), None)
        array([False,  True])
        """
        values = self._values(x, labels)
        if values is None:
            raise ArgumentValueError(
                f"rule {self.what}: samples have {x.shape[1]} numbers, counted from 0, and "
                f"{'no ' * (labels is None)}classes"
            )
        return np.asarray(self.compared(values, self.bound))

    def _values(self, x: Array, labels: Array | None) -> Array | None:
        if self.of_y:
            return labels
        if self.what == "mean":
            return np.asarray(x.mean(axis=1))
        return x[:, self.index] if self.index < x.shape[1] else None
