"""A selection: the options of opening a run as one value that everything inside passes on."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_small_run

import accweight_core as aw
from accweight_core.errors import SourceError
from accweight_core.runs.opening import selected_run
from accweight_core.runs.selection import ALL, Selection


def test_whatever_can_be_told_to_open_run_is_in_a_selection() -> None:
    told = set(inspect.signature(aw.open_run).parameters) - {"source"}
    of = set(inspect.signature(Selection.of).parameters)

    assert told == of == {field.name for field in fields(Selection)} - {"mixed"}


def test_a_single_pattern_is_one_pattern() -> None:
    chosen = Selection.of(skip="fc.*", exclude="last.ckpt")

    assert (chosen.skip, chosen.exclude) == (("fc.*",), ("last.ckpt",))


def test_nothing_told_is_everything() -> None:
    assert Selection.of(skip=None, exclude=[]) == ALL


def test_a_map_is_read_once_and_lets_formats_mix(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('[parameters]\n"a.weight" = "b.weight"\n')

    chosen = Selection.of(map=tmp_path / "map.toml")

    assert chosen.mixed
    assert chosen.map is not None
    assert chosen.map.parameters["a.weight"].names == ("b.weight",)
    with pytest.raises(SourceError, match=r"none\.toml: the map cannot be read"):
        Selection.of(map=tmp_path / "none.toml")


def test_keys_of_a_file_system_are_never_printed() -> None:
    chosen = Selection.of(storage_options={"secret": "hunter2"})

    assert "hunter2" not in repr(chosen)
    assert "hunter2" not in str(chosen)


def test_a_run_is_opened_alike_from_options_and_from_a_selection(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "run", ["epoch_1.pt", "epoch_2.pt", "epoch_3.pt"])
    options = {"exclude": "epoch_3.pt", "reader": "torch"}

    run = aw.open_run(folder, **options)  # type: ignore[arg-type]

    assert run.steps.tolist() == [1, 2]
    assert selected_run(folder, Selection.of(**options)).checkpoints == run.checkpoints  # type: ignore[arg-type]


def test_weights_in_memory_are_selected_too() -> None:
    weights = [{"a.weight": np.ones((2, 2)), "b.weight": np.ones(3)}] * 2

    run = selected_run(weights, Selection(skip=("b.*",)))

    assert [parameter.name for parameter in run.parameters] == ["a.weight"]
