"""Digits after dots: counts (`epoch_1.9`, `epoch_1.10`) or decimals (`epoch_0.5`, `epoch_0.25`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import write_small_run

from accweight_core.cli.app import run as command
from accweight_core.runs.inspection import inspected
from accweight_core.runs.release_numbers import counts_read_apart


def order(folder: Path) -> list[str]:
    return [
        Path(c.path).relative_to(folder).as_posix() for c in inspected(folder).opened.checkpoints
    ]


def warnings(folder: Path) -> str:
    return " ".join(inspected(folder).opened.warnings)


COUNTS = [
    ["epoch_1.8.pt", "epoch_1.9.pt", "epoch_1.10.pt", "epoch_1.11.pt", "epoch_2.1.pt"],
    ["epoch_1.9.pt", "epoch_1.10.pt"],
    ["model_1.5.pt", "model_1.10.pt", "model_1.15.pt", "model_2.5.pt"],
    ["ckpt-0.8.pt", "ckpt-0.9.pt", "ckpt-0.11.pt", "ckpt-0.12.pt"],
    ["step_1.100.pt", "step_1.900.pt", "step_1.1000.pt"],
    ["1.9.pt", "1.10.pt", "1.11.pt"],
    ["epoch_1.9/model.pt", "epoch_1.10/model.pt", "epoch_1.11/model.pt"],
    ["epoch=1.9-loss=0.5.pt", "epoch=1.10-loss=0.25.pt"],
    ["epoch_1.pt", "epoch_1.9.pt", "epoch_1.10.pt", "epoch_2.pt"],
]

DECIMALS = [
    ["epoch_0.25.pt", "epoch_0.5.pt", "epoch_0.75.pt", "epoch_1.0.pt"],
    ["epoch_0.25.pt", "epoch_0.5.pt", "epoch_0.75.pt", "epoch_1.pt", "epoch_1.25.pt"],
    ["epoch_0.05.pt", "epoch_0.1.pt", "epoch_0.15.pt", "epoch_0.2.pt"],
    ["step_1.05.pt", "step_1.1.pt"],
    ["ckpt_0.1.pt", "ckpt_0.33.pt", "ckpt_0.5.pt"],
    ["epoch_9.75.pt", "epoch_10.00.pt", "epoch_10.25.pt"],
    ["ckpt_0.125.pt", "ckpt_0.25.pt", "ckpt_0.5.pt"],
]


@pytest.mark.parametrize("names", COUNTS, ids=lambda names: names[0])
def test_counts_after_dots_are_ordered_as_counts(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    write_small_run(tmp_path, names)

    assert order(tmp_path) == names
    assert "the digits after the dots are read as counts" in warnings(tmp_path)


@pytest.mark.parametrize("names", DECIMALS, ids=lambda names: names[0])
def test_decimals_are_ordered_as_decimals(tmp_path: Path, names: list[str]) -> None:
    write_small_run(tmp_path, names)

    assert order(tmp_path) == names
    assert warnings(tmp_path) == ""


def test_losses_are_no_counts(tmp_path: Path) -> None:
    names = [f"epoch={epoch}-loss={loss}.pt" for epoch, loss in ((1, 0.9), (2, 0.10), (3, 0.11))]

    write_small_run(tmp_path, names)

    assert order(tmp_path) == names
    assert warnings(tmp_path) == ""


def test_losses_without_a_word_are_no_counts() -> None:
    names = ["epoch=1-0.9", "epoch=2-0.10", "epoch=3-0.11"]

    assert counts_read_apart(names) == (names, "")


def test_inspect_says_how_it_was_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_run(tmp_path, ["epoch_1.9.pt", "epoch_1.10.pt"])

    assert command(["inspect", str(tmp_path)]) == 0

    text = " ".join("".join(capsys.readouterr()).split())
    assert "so 1.9 comes before 1.10" in text
    assert "--given-order" in text
