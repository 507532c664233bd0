"""Rank correlations against `scipy.stats`, which users need not install."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accweight_core.alignment.rank_correlation import kendall, spearman

TIED = st.integers(-3, 3).map(float)
ANY = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(st.tuples(TIED, TIED) | st.tuples(ANY, ANY), min_size=2, max_size=40))
def test_both_agree_with_scipy_ties_or_not(pairs: list[tuple[float, float]]) -> None:
    a, b = (list(side) for side in zip(*pairs, strict=True))

    found = spearman(a, b), kendall(a, b)

    if len(set(a)) < 2 or len(set(b)) < 2:
        assert all(map(math.isnan, found))
        return
    expected = stats.spearmanr(a, b).statistic, stats.kendalltau(a, b).statistic
    assert found == pytest.approx(expected, abs=1e-12)


def test_kendall_of_a_hand_counted_case_with_ties() -> None:
    # pairs: 1-2 and 1-3 agree, 2-3 is tied in a: tau_b = 2 / sqrt((3 - 1) * 3)
    assert kendall([1, 2, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))


def test_spearman_of_a_hand_counted_case_with_ties() -> None:
    # ranks 1, 2.5, 2.5 against 1, 2, 3
    assert spearman([1, 2, 2], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_infinity_is_the_highest_rank() -> None:
    values = [1, 2, math.inf]

    assert spearman(values, [1, 2, 3]) == pytest.approx(1)
    assert kendall(values, [1, 2, 3]) == 1


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_what_has_no_order_has_no_correlation(values: list[float]) -> None:
    others = list(np.arange(len(values), dtype=float))

    assert math.isnan(spearman(values, others))
    assert math.isnan(kendall(others, values))
