"""Numbers of runs and of settings in names: two runs are never strung together in silence."""

from __future__ import annotations

from itertools import product

import pytest
from named_files import steps, table, warnings


def grid(form: str, *values: tuple[object, ...]) -> list[str]:
    """Return a name for every combination of values."""
    return [form.format(*one) for one in product(*values)]


@pytest.mark.parametrize(
    ("form", "first", "second", "series"),
    [
        ("{}-epoch-{}.pt", (1, 2), (100, 200, 300), ("1", "2")),
        ("{}_{}.pt", (1, 2), (100, 200), ("1", "2")),
        ("{}_{}.pt", (18, 34), (1, 2), ("18", "34")),
        ("model_{}_{}.pt", (0, 1, 2), (5, 10), ("model_0", "model_1", "model_2")),
        ("net{}-step{}.pt", (1, 2), (1, 2), ("net1", "net2")),
        ("{}-of-mine_iter_{}.pt", (1, 2), (1000, 2000), ("1-of-mine", "2-of-mine")),
        ("{}_epoch_{}.pt", ("2024-01-02", "2024-01-03"), (1, 2), ("2024-01-02", "2024-01-03")),
    ],
)
def test_runs_whose_steps_coincide_are_series(
    form: str, first: tuple[object, ...], second: tuple[int, ...], series: tuple[str, ...]
) -> None:
    expected = {
        name: {form.format(run, step): step for step in second}
        for name, run in zip(series, first, strict=True)
    }

    assert table(grid(form, first, second)) == expected


def test_the_number_of_a_run_may_come_after_the_step() -> None:
    assert table(grid("{}_{}.pt", (100, 200, 300), (1, 2))) == {
        "1": {"100_1.pt": 100, "200_1.pt": 200, "300_1.pt": 300},
        "2": {"100_2.pt": 100, "200_2.pt": 200, "300_2.pt": 300},
    }


@pytest.mark.parametrize("form", ["{}_{}.pt", "m_{}_{}.pt", "{}-{}-weights.pt"])
def test_runs_whose_second_number_starts_again_are_series(form: str) -> None:
    first = {form.format(1, n): n for n in (100, 200, 300)}
    second = {form.format(2, n): n for n in (50, 150, 250)}

    assert list(table([*first, *second]).values()) == [first, second]


@pytest.mark.parametrize(
    "word",
    ["run", "Run", "seed", "fold", "trial", "exp", "experiment", "version", "v", "split", "member"],
)
@pytest.mark.parametrize("form", ["{}{}_{}.pt", "{}_{}_step_{}.pt", "a-{}={}-epoch={}.pt"])
def test_words_of_runs_keep_runs_apart_even_if_their_steps_go_on(word: str, form: str) -> None:
    first = {form.format(word, 1, n): n for n in (10, 20)}
    second = {form.format(word, 2, n): n for n in (30, 40)}

    assert list(table([*first, *second]).values()) == [first, second]


@pytest.mark.parametrize(
    "word",
    ["run", "seed", "fold", "trial", "exp", "rank", "client", "ensemble", "layer", "blocks", "sub"],
)
@pytest.mark.parametrize("form", ["{}{}.pt", "{}_{}_100.pt", "best_{}{}.pt"])
def test_one_checkpoint_each_of_several_runs_is_no_series(word: str, form: str) -> None:
    names = [form.format(word, n) for n in (1, 2, 10)]

    assert [len(rows) for rows in table(names).values()] == [1, 1, 1]


def test_a_run_that_has_just_begun_does_not_join_another() -> None:
    rows = table(["run1_step_10.pt", "run1_step_20.pt", "run2_step_30.pt"])

    assert list(rows.values()) == [
        {"run1_step_10.pt": 10, "run1_step_20.pt": 20},
        {"run2_step_30.pt": 30},
    ]


def test_steps_with_a_word_of_one_checkpoint_each_are_no_series() -> None:
    assert [len(rows) for rows in table(["1-epoch-100.pt", "2-epoch-100.pt"]).values()] == [1, 1]


@pytest.mark.parametrize(
    "names",
    [
        ["1_100.pt", "2_100.pt"],
        ["a_1_5000.pt", "a_2_5000.pt", "a_3_5000.pt"],
        ["1/model_100.pt", "2/model_100.pt"],
        ["1/100.pt", "2/100.pt"],
        ["model_v1.pt", "model_v2.pt"],
        ["net_version_1.pt", "net_version_2.pt"],
        ["mask_0.1.pt", "mask_0.5.pt"],
        ["alpha_10.pt", "alpha_20.pt"],
        ["net_noise25.pt", "net_noise50.pt"],
        ["model_part0.pt", "model_part1.pt"],
        ["net_s0_best.pt", "net_s42_best.pt"],
        ["0/model/best.pt", "1/model/best.pt"],
        ["model_fp16.pt", "model_fp32.pt"],
    ],
)
def test_numbers_that_may_be_those_of_runs_are_taken_for_steps_with_a_warning(
    names: list[str],
) -> None:
    (warning,) = warnings(names)

    assert list(steps(names)) == names
    assert f"{names[0]} and {names[-1]} apart are taken for steps; if they are those of" in warning


@pytest.mark.parametrize(
    "names",
    [
        grid("checkpoint_{}_{}.pt", (1, 2), (400, 800)),
        grid("epoch-{}-{}.pt", (100, 200), (1, 2)),
        grid("{}_{}.pt", ("2024-01-02", "2024-01-03"), (10, 11)),
    ],
)
def test_numbers_that_are_the_same_in_each_epoch_are_counted_with_a_warning(
    names: list[str],
) -> None:
    (warning,) = warnings(names)

    assert steps(names) == {name: at for at, name in enumerate(names)}
    assert "the same second numbers for every first one, as several runs would" in warning


@pytest.mark.parametrize(
    "names",
    [
        ["epoch_1_step_300.pt", "epoch_2_step_200.pt", "epoch_3_step_100.pt"],
        ["epoch=0-step=300.pt", "epoch=1-step=600.pt", "epoch=0-step=700.pt"],
        ["e1_2.pt", "e2_1.pt"],
        ["2024-01-05_epoch_1.pt", "2024-01-02_epoch_2.pt"],
    ],
)
def test_counts_that_contradict_each_other_are_said(names: list[str]) -> None:
    (warning,) = warnings(names)

    assert warning.startswith("the counts in the names contradict the order (")


@pytest.mark.parametrize(
    "names",
    [
        grid("epoch_{}_{}.pt", (1, 2), (400, 800)),
        grid("epoch={}-step={}.pt", (1, 2), (400, 800)),
        ["epoch=0-step=300.pt", "epoch=0-step=600.pt", "epoch=1-step=900.pt"],
        ["net_1_of_3.pt", "net_2_of_3.pt", "net_3_of_3.pt"],
        ["resnet50_1.pt", "resnet50_2.pt"],
        ["Epoch_1.pt", "epoch_2.pt", "EPOCH_3.pt"],
        ["0.5.pt", "1.0.pt", "10.0.pt"],
    ],
)
def test_plain_orders_take_no_warning(names: list[str]) -> None:
    assert list(steps(names)) == names
    assert warnings(names) == ()


def test_a_loss_behind_the_epoch_is_no_update() -> None:
    names = ["checkpoint_1_0_912345.pt", "checkpoint_2_0_712345.pt", "checkpoint_10_0_500000.pt"]

    assert steps(sorted(names)) == dict(zip(names, (1, 2, 10), strict=True))
    assert warnings(names)[0].startswith("the counts in the names contradict the order")


def test_the_update_is_the_step_of_epoch_and_update() -> None:
    for names in (["checkpoint_1_400.pt"], ["checkpoint_1_400.pt", "checkpoint_2_800.pt"]):
        assert list(steps(names).values()) == [400, 800][: len(names)]


def test_individuals_of_generations_are_runs() -> None:
    files = [f"gen_{g}_ind_{i}.pt" for g in (1, 2, 3) for i in (0, 1)]
    folders = [f"generation_{g}/genome_{i}.pt" for g in (1, 2, 3) for i in (0, 1)]

    for names in (files, folders):
        assert [list(rows.values()) for rows in table(names).values()] == [[1, 2, 3]] * 2


def test_numbered_layers_in_folders_are_no_steps() -> None:
    assert [len(rows) for rows in table([f"layer_{n}/sae.pt" for n in (0, 1)]).values()] == [1, 1]


def test_letter_case_is_no_difference_within_a_series() -> None:
    assert table(["Run1_100.pt", "run1_200.pt", "Run2_100.pt", "RUN2_200.pt"]) == {
        "Run1": {"Run1_100.pt": 100, "run1_200.pt": 200},
        "Run2": {"Run2_100.pt": 100, "RUN2_200.pt": 200},
    }


# Fractions and hashes


@pytest.mark.parametrize(
    ("form", "settings", "names"),
    [
        ("mom{}_{}.pt", ("0.9", "0.99"), ("mom0.9", "mom0.99")),
        ("model_{}_{}.pt", ("0.1", "0.5"), ("model_0.1", "model_0.5")),
        ("ema_{}_{:06d}.pt", ("0.999", "0.9999"), ("ema_0.999", "ema_0.9999")),
        ("{}_{}.pt", ("a1b2c3d", "deadbe3"), ("a1b2c3d", "deadbe3")),
        ("x{}_step{}.pt", ("1e-3", "1e-4"), ("x1e-3", "x1e-4")),
    ],
)
def test_fractions_and_hashes_that_several_steps_have_are_settings(
    form: str, settings: tuple[str, ...], names: tuple[str, ...]
) -> None:
    expected = {
        name: {form.format(setting, step): step for step in (1, 2, 10)}
        for name, setting in zip(names, settings, strict=True)
    }

    assert table([file for rows in expected.values() for file in rows]) == expected


def test_settings_behind_the_step_tell_runs_apart_where_steps_coincide() -> None:
    names = [f"phema-{step:07d}-{length}.pt" for step in (2048, 4096) for length in (0.05, 0.1)]

    assert set(table(names)) == {"phema-0.05", "phema-0.1"}


def test_settings_tell_runs_apart_whose_steps_do_not_coincide() -> None:
    rows = table(["mom0.9_100.pt", "mom0.9_200.pt", "mom0.99_150.pt", "mom0.99_250.pt"])

    assert [list(one.values()) for one in rows.values()] == [[100, 200], [150, 250]]


@pytest.mark.parametrize(
    "names",
    [
        ["ema_0.99_100.pt", "ema_0.999_100.pt"],
        ["lr0.1_100.pt", "lr0.2_100.pt"],
        ["a1b2c3d_5.pt", "deadbe3_5.pt"],
        ["eps0.1/model_1.pt", "eps0.2/model_1.pt"],
    ],
)
def test_settings_of_one_step_are_no_series(names: list[str]) -> None:
    assert [len(rows) for rows in table(names).values()] == [1, 1]


@pytest.mark.parametrize(
    "names",
    [
        ["1_loss0.123.pt", "2_loss0.1.pt", "3_loss0.09.pt"],
        ["1-0.91.pt", "2-0.91.pt", "3-0.92.pt", "4-0.92.pt"],
        ["1-0.91.pt", "2-0.92.pt", "3-0.91.pt", "4-0.92.pt"],
        ["epoch_1_loss_0.9.pt", "epoch_2_loss_0.9.pt", "epoch_3_loss_0.5.pt"],
        ["5-3fa9b2c.pt", "6-deadbe3.pt"],
    ],
)
def test_figures_beside_the_step_are_measures(names: list[str]) -> None:
    assert list(steps(names)) == names
    assert warnings(names) == ()
