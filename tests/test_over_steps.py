"""When layers moved, by hand; the commands `layers` and `trace`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from test_cli import accweight, widest

import accweight_core as aw
from accweight_core.analysis.timing import NEVER, timing
from accweight_core.cli.over_steps import parsed_index

STEPS = np.array([0, 1, 2, 4, 8])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis of a layer that settles, one that goes on, and one that stands still."""
    walks = {"early": (0, 1, 2, 2.1, 2.1), "late": (0, 1, 0, 1, 3), "still": (0, 0, 0, 0, 0)}
    folder = tmp_path_factory.mktemp("steps")
    for at, step in enumerate(STEPS.tolist()):
        state = {f"{n}.weight": np.full((4, 4), 1.0 + walk[at]) for n, walk in walks.items()}
        np.savez(folder / f"step_{step}.npz", **state)
    aw.analyze(aw.open_run(folder), folder / "run.accw")
    return folder / "run.accw"


def test_movements_are_compared_per_step_of_training() -> None:
    found = timing(STEPS, np.array([0, 6, 3, 2, 1]))

    # path 6, 9, 11, 12 of 12; per step 6, 3, 1, 1/4
    assert (found.half, found.most) == (1, 4)
    assert found.last == pytest.approx(0.25 / 6)
    assert found.settled == 4


def test_what_moves_to_the_end_is_not_settled_and_what_never_moved_has_no_timing() -> None:
    assert timing(STEPS, np.array([0, 0, 0, 0, 1.0])).settled is None
    assert timing(STEPS, np.zeros(5)) == NEVER
    assert timing(STEPS[:1], np.zeros(1)) == NEVER


def test_layers_shows_each_layer_over_the_steps(path: Path) -> None:
    answer = accweight("layers", path)
    document = accweight("layers", path, "--json").document

    assert answer.code == 0
    assert widest(answer.out) <= 80
    assert "early  ·██▁·" in answer.out
    assert "never moved" in answer.out
    early = document["layers"][0]
    assert early["values"] == pytest.approx([0, 1, 1, 0.1, 0])
    assert (early["path_50_step"], early["path_90_step"], early["settled_step"]) == (2, 2, 2)
    assert early["random_walk"]["efficiency"]["value"] < 1
    assert document["walk_shares"][0] > 0.6


def test_layers_in_csv_has_a_column_per_step(path: Path) -> None:
    text = accweight("layers", path, "--by", "net_mean", "--csv").out

    head, *rows = csv.reader(io.StringIO(text))
    assert head[-5:] == ["0", "1", "2", "4", "8"]
    assert [float(cell) for cell in rows[1][-5:]] == [0, 1, 0, 1, 3]
    assert rows[2][3:7] == ["", "", "", ""]


def test_layers_writes_a_heat_map(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "map.png"

    answers = [accweight("layers", path, "--png", file, "--json") for _ in range(2)]

    assert file.read_bytes().startswith(b"\x89PNG")
    assert answers[0].document["png"] == str(file)
    assert "exists already" in answers[1].problem


def test_trace_shows_one_weight_at_every_step(path: Path) -> None:
    words = "trace", path, "late.weight", 3, 1

    text, document, table = (accweight(*words, *end) for end in ((), ["--json"], ["--csv"]))

    assert "late.weight[3, 1] at every step" in text.out
    assert "path 5, distance from the start 3 (60%)" in text.out
    assert [row["weight"] for row in document.document["steps"]] == [1, 2, 1, 2, 4]
    assert [row["path"] for row in document.document["steps"]] == [0, 1, 2, 3, 5]
    assert table.out.splitlines()[1:3] == ["0,1.0,0.0,0.0", "1,2.0,1.0,1.0"]


def test_a_weight_that_is_not_there_is_said_in_a_line_with_what_is(path: Path) -> None:
    assert "its shape is (4, 4)" in accweight("trace", path, "late.weight", 4, 0).problem
    assert "its shape is (4, 4)" in accweight("trace", path, "late", "-1", 0).problem
    assert "late.weight" in accweight("trace", path, "fc", 0).problem
    assert accweight("trace", path, "late", "x").code == 2
    assert accweight("trace", path, "late", "0", "0", "--csv", "--json").code == 2


def test_an_index_may_be_written_as_it_is_printed() -> None:
    assert parsed_index(["3", "5"]) == parsed_index(["3,5"]) == parsed_index(["[3,", "5]"])
