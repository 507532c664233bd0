"""How much is tried: of cases that are many and alike a fixed sample, by `make test-thorough` all.

A sample is the same every time. Who takes one chooses its stride so that every value of everything
that cases are made of comes up: numbers that have no common divisor with how many values there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import cycle, islice, product
from typing import TypeVar

THOROUGH = os.environ.get("ACCWEIGHT_THOROUGH", "") not in ("", "0")

Case = TypeVar("Case")
Other = TypeVar("Other")


def sampled(cases: Iterable[Case], stride: int) -> Iterator[Case]:
    """Yield one case in `stride`; all of them where the tests are thorough."""
    return islice(cases, 0, None, 1 if THOROUGH else stride)


def pairs(cases: Iterable[Case], others: Iterable[Other]) -> list[tuple[Case, Other]]:
    """Return each case with one of the others by turns; with all where the tests are thorough."""
    return list(product(cases, others) if THOROUGH else zip(cases, cycle(others), strict=False))


def up_to(cases: int) -> int:
    """Return a quarter of a number of cases, ten at least; all where the tests are thorough."""
    return cases if THOROUGH else max(min(cases, 10), cases // 4)
