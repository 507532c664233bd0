"""Doubts about the order of names that only count up are those of the first and the last name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to

from accweight_core.runs import order_doubts
from accweight_core.runs.order_doubts import BY_NUMBER, BY_NUMBERS, Told, order_warnings

FOLDERS = ("", "runs/2024-01-05/", "/data/seed3/", "C:\\models\\run_2\\", "decay/", "may/")
BEFORE = ["step_", "epoch", "epoch=", "ckpt-", "model.", "seed", "seed_", "lr_", "alpha=", "-v",
          "net:v", "face", "bad", "jan_", "dec-", "step=-", "part_", "best_", "Größe_", "",
          "layer "]  # fmt: skip
AFTER = [".pt", ".h5", ".weights.h5", "_loss.ckpt", "-last.pt", "k.pt", "st.pt", "h.pt", "e.pt",
         "abc.pt", "_final.pt", "/params", "/step_/net.pt", "_steps.zip", "_epochs.npz",
         "/final.pt", ""]  # fmt: skip
NUMBERS = st.sets(st.integers(0, 9_999_999) | st.integers(0, 40), min_size=2, max_size=12)


@given(
    st.sampled_from(FOLDERS),
    st.sampled_from(BEFORE),
    st.sampled_from(AFTER),
    NUMBERS,
    st.integers(0, 8),
    st.sampled_from([BY_NUMBER, BY_NUMBERS, "in file: epoch", "words in names"]),
)
@settings(max_examples=up_to(3000))
def test_the_ends_tell_what_all_names_do(
    folder: str, before: str, after: str, numbers: set[int], width: int, source: str
) -> None:
    told = [
        Told(f"{folder}{before}{number:0{width}}{after}", number, source)
        for number in sorted(numbers)
    ]

    assert order_warnings(told) == order_doubts._doubts(told)


@pytest.mark.parametrize(
    "names",
    [
        ["m_30min.pt", "m_45min.pt", "m_50h.pt"],  # other words
        ["1_of_3.pt", "2_of_3.pt", "3_of_4.pt"],
        ["step_1.pt", "step_2.pt", "step_2.pt"],
        ["step_3.pt", "step_2.pt", "step_4.pt"],
        ["jan_1.pt", "jan_2.pt", "jan_3.pt"],
        ["20240101.pt", "20240102.pt", "20240103.pt"],
        ["x-v1.pt", "x-v2.pt", "x-v10000.pt"],
        ["bad1.pt", "bad2.pt", "bad12345.pt"],
        ["step_1", "step_10", "step_1"],
        ["a/1.pt", "b/2.pt", "a/3.pt"],
    ],
)
def test_other_names_are_read_one_by_one(names: list[str]) -> None:
    assert not order_doubts._only_count_up(names)


@pytest.mark.parametrize("name", ["step_{}.pt", "epoch{}.ckpt", "run3/checkpoint-{}/model.pt",
                                  "ckpt{:05}.weights.h5", "{}.npz"])  # fmt: skip
def test_usual_names_only_count_up(name: str) -> None:
    assert order_doubts._only_count_up([name.format(step) for step in (1, 20, 300)])
