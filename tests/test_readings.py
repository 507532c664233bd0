"""Dates, units, grouped digits and decimals in names: ordered by value, with a doubt where due."""

from __future__ import annotations

import pytest
from named_files import steps, table, warnings

BY_VALUE: dict[str, list[str]] = {
    "thousands with commas": ["m_500", "m_1,000", "m_1,500", "m_10,000", "m_1,000,000"],
    "thousands with underscores": ["m_500", "m_1_000", "m_1_500", "m_10_000"],
    "millions with underscores": ["m_900_000", "m_1_000_000", "m_2_500_000"],
    "steps with underscores": ["step_900", "step_1_500", "step_2_500", "step_10_500"],
    "decimals": ["m_0.5", "m_1", "m_1.5", "m_10", "m_10.25"],
    "decimals of epochs": ["epoch_0.5", "epoch_1", "epoch_1.5", "epoch_10"],
    "decimals alone": ["0.5", "1.0", "2.5", "10.0"],
    "minutes to days": ["m_30min", "m_2h", "m_1d"],
    "seconds to weeks": ["90s", "30min", "2h", "1d", "1w"],
    "spelled times": ["after_1hour", "after_2hours", "after_10hours", "after_1day"],
    "minutes by one letter": ["m_10m", "m_30m", "m_1h"],
    "parameters": ["m_500m", "m_1b", "m_1.5b"],
    "tokens": ["m_500B", "m_1T", "m_2T"],
    "tokens of any unit": ["m-900k-tokens", "m-100M-tokens", "m-1b-tokens", "m-1T-tokens"],
    "tokens in one word": ["m-0.5Mtokens", "m-1Mtokens", "m-1.5Mtokens", "m-10Mtokens"],
    "tokens in one word, of any unit": ["m-900ktokens", "m-1.5Btokens", "m-2Ttokens"],
    "one unit with fractions": ["m_0.5T", "m_1T", "m_1.5T"],
    "giga": ["m_900M", "m_1G", "m_2G"],
    "year, month, day": ["m_2023-12-31", "m_2024-01-20", "m_2024-02-03"],
    "day, month, year": ["m_31-12-2023", "m_20-01-2024", "m_03-02-2024"],
    "day, month, year with dots": ["m_31.12.2023", "m_20.01.2024", "m_03.02.2024"],
    "day, month, year in one": ["m_31122023", "m_20012024", "m_03022024"],
    "month, day, year": ["m_12-31-2023", "m_01-25-2024", "m_02-03-2024"],
    "month and year": ["m_12-2023", "m_01-2024", "m_02-2024"],
    "year and month": ["m_2023-12", "m_2024-01", "m_2024-02"],
    "names of months": ["m_jan", "m_feb", "m_apr", "m_nov"],
    "months and days": ["m_Jan05", "m_Jan20", "m_Feb03"],
    "months and years": ["m_Dec-2023", "m_January-2024", "m_Feb-2024"],
    "day, name, year": ["m_05Jan2024", "m_20Jan2024", "m_03Feb2024"],
    "name, day, year": ["m_Dec_31_2023", "m_Jan_5_2024", "m_Feb_1_2024"],
    "folders of TensorBoard": ["Jan05_09-00-00", "Jan05_13-00-00", "Feb01_00-00-00"],
    "times of a day": ["05-01-2024_09-30", "05-01-2024_13-00", "13-01-2024_08-00"],
}


FRACTIONS = ("decimals", "decimals alone")
"""Not in names of folders, where fractions are settings."""


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, "{}.pt") for name in BY_VALUE]
    + [(name, "{}/model.pt") for name in BY_VALUE if name not in FRACTIONS],
)
def test_quantities_in_names_are_ordered_by_value(name: str, form: str) -> None:
    names = [form.format(one) for one in BY_VALUE[name]]

    found = steps(sorted(names))

    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert warnings(sorted(names)) == ()


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (["m_05-01-2024.pt", "m_04-02-2024.pt"], "may have the day or the month first"),
        (["m_01.02.2024.pt", "m_02.01.2024.pt"], "may have the day or the month first"),
        (["m_dec.pt", "m_jan.pt"], "say no year"),
        (["m_Dec30.pt", "m_Jan05.pt"], "say no year"),
    ],
)
def test_dates_that_can_be_read_in_two_ways_take_a_warning(names: list[str], doubt: str) -> None:
    (warning,) = warnings(names)

    assert doubt in warning
    assert "--given-order" in warning


def test_days_and_months_that_order_alike_either_way_take_no_warning() -> None:
    assert warnings(["m_01-01-2024.pt", "m_02-02-2024.pt", "m_03-03-2024.pt"]) == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["checkpoint_1_400.pt", "checkpoint_2_800.pt"], [400, 800]),
        (["dec_1.pt", "dec_10.pt", "dec_40.pt"], [1, 10, 40]),
        (["epoch_1.pt", "epoch_2.pt", "epoch_2012.pt"], [1, 2, 2012]),
        (["step_2000.pt", "step_2001.pt"], [2000, 2001]),
        (["unet_2d_1.pt", "unet_2d_2.pt"], [1, 2]),
        (["m_01000000.pt", "m_02000000.pt"], [1_000_000, 2_000_000]),
        (["may_5.pt", "may_31.pt", "may_32.pt"], [5, 31, 32]),
        (["2000_100.pt", "2001_200.pt"], [100, 200]),
    ],
)
def test_numbers_that_only_look_like_such_quantities_stay(
    names: list[str], expected: list[int]
) -> None:
    assert list(steps(names).values()) == expected


def test_two_runs_stay_apart_though_their_numbers_look_grouped() -> None:
    names = [f"{run}_{step}.pt" for run in (1, 2) for step in (100, 200)]

    assert list(table(names)) == ["1", "2"]


def test_a_series_is_called_by_what_its_names_have_in_common() -> None:
    assert list(table(["m_30min.pt", "m_2h.pt"])) == ["m"]
    assert list(table(["m_05Jan2024.pt", "m_03Feb2024.pt"])) == ["m"]
