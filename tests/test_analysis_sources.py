"""What an analysis is made of: memory, a store, or a model that trains; and what each can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.sources import InMemory, Live, Stored
from accweight_core.errors import SourceError, UnknownNameError
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.schema import Run

Make = Callable[[Run, Path], Analysis]

WALKS = {
    "conv.weight": oracle.series((4, 3, 3, 3), steps=3),
    "fc.weight": oracle.series((20, 30), steps=3, seed=1),
    "fc.bias": oracle.series((20,), steps=3, seed=2),
}
STATES = [{name: states[t] for name, states in WALKS.items()} for t in range(3)]


@pytest.fixture
def run(stored: Callable[..., Run]) -> Run:
    """Three checkpoints in files, steps 0, 10 and 20."""
    return stored(STATES)


def in_memory(run: Run, folder: Path) -> Analysis:
    return aw.analyze(run)


def just_stored(run: Run, folder: Path) -> Analysis:
    return aw.analyze(run, folder / "run.accw")


def live(run: Run, folder: Path) -> Analysis:
    tracker = aw.ChangeTracker()
    for step, weights in zip(run.steps, STATES, strict=True):
        tracker.update(weights, step=int(step))
    return tracker.analysis()


KINDS = pytest.mark.parametrize("make", [in_memory, just_stored, live])


@KINDS
def test_every_source_gives_the_same_numbers_and_the_last_exact_values(
    run: Run, tmp_path: Path, make: Make
) -> None:
    analysis, expected = make(run, tmp_path), aw.analyze(run)

    assert analysis.values.tobytes() == expected.values.tobytes()
    assert analysis.finished() == [True] * 3
    assert analysis.maximum == expected.maximum
    for name, states in WALKS.items():
        np.testing.assert_allclose(
            analysis.cumulative(name), oracle.cumulative(states), rtol=1e-6, atol=1e-7
        )


@KINDS
def test_only_a_stored_analysis_has_a_path(run: Run, tmp_path: Path, make: Make) -> None:
    analysis = make(run, tmp_path)

    assert analysis.path == (tmp_path / "run.accw" if make is just_stored else None)
    assert (analysis.store is None) == (make is not just_stored)


@pytest.mark.parametrize("make", [in_memory, just_stored])
def test_a_run_that_was_just_measured_is_the_run_behind_it(
    run: Run, tmp_path: Path, make: Make
) -> None:
    analysis = make(run, tmp_path)

    assert analysis.run() is run
    assert analysis.checkpoint(1) is run.checkpoint(1)


def test_weights_in_memory_are_found_after_they_were_stored(tmp_path: Path) -> None:
    analysis = aw.analyze(aw.open_run(STATES), tmp_path / "run.accw")

    found = analysis.cumulative("fc.weight", 1)

    np.testing.assert_allclose(found, oracle.walk_of(WALKS["fc.weight"]).path[1], rtol=1e-6)


def test_one_checkpoint_of_a_stored_analysis_is_found_where_another_is_gone(
    tmp_path: Path,
) -> None:
    for step, weights in enumerate(STATES):
        torch.save(weights, tmp_path / f"epoch_{step}.pt")
    aw.analyze(aw.open_run(tmp_path), tmp_path / "run.accw")
    (tmp_path / "epoch_0.pt").unlink()
    opened = aw.open_analysis(tmp_path / "run.accw")

    found = opened.checkpoint(2)

    assert found.step == 2
    assert set(found.tensors) == set(WALKS)
    with pytest.raises(SourceError, match=r"epoch_0.pt: .* of step 0 is missing"):
        opened.run()


def test_the_run_behind_a_stored_analysis_is_described_once(run: Run, tmp_path: Path) -> None:
    for step, weights in enumerate(STATES):
        torch.save(weights, tmp_path / f"epoch_{step}.pt")
    aw.analyze(aw.open_run(tmp_path), tmp_path / "run.accw")

    opened = aw.open_analysis(tmp_path / "run.accw")

    assert opened.run() is opened.run()
    assert opened.checkpoint(1) is opened.run().checkpoint(1)


LIVE_SAYS = (
    r"^tracked while training: there are no checkpoints to read; exact values are kept of the "
    r"last step alone, 20, and in memory alone; tables and rankings have every step. Save "
    r"checkpoints and analyse them to trace single weights$"
)


@pytest.mark.parametrize(
    "ask",
    [
        lambda analysis: analysis.run(),
        lambda analysis: analysis.checkpoint(0),
        lambda analysis: analysis.cumulative("fc.weight", 10),
        lambda analysis: analysis.normalized("fc.weight", 0),
        lambda analysis: analysis.trace("fc.weight", (0, 0)),
    ],
    ids=["run", "checkpoint", "cumulative", "normalized", "trace"],
)
def test_a_model_that_trains_says_that_it_has_no_checkpoints(
    run: Run, tmp_path: Path, ask: Callable[[Analysis], object]
) -> None:
    analysis = live(run, tmp_path)

    with pytest.raises(SourceError, match=LIVE_SAYS):
        ask(analysis)


@KINDS
def test_a_wrong_name_is_told_before_checkpoints_are_looked_for(
    run: Run, tmp_path: Path, make: Make
) -> None:
    analysis = make(run, tmp_path)

    with pytest.raises(UnknownNameError, match=r"no parameter is called 'nothing'; there are 3: "):
        analysis.cumulative("nothing", 0)


def test_a_source_of_another_kind_is_asked_like_the_three(run: Run, tmp_path: Path) -> None:
    measured = aw.analyze(run)

    class FartherMoved(InMemory):
        def values(self) -> Floats:
            values = super().values().copy()
            values[:, :, SUMS.index("path_max")] *= 2
            return values

    header = replace(measured.header, complete=False)
    analysis = Analysis(FartherMoved(header, measured.values, run))

    assert analysis.maximum is not None
    assert measured.maximum is not None
    assert analysis.maximum.value == 2 * measured.maximum.value


def test_each_way_to_an_analysis_has_its_source(run: Run, tmp_path: Path) -> None:
    kinds = {make: type(make(run, tmp_path)._source) for make in (in_memory, just_stored, live)}

    assert kinds == {in_memory: InMemory, just_stored: Stored, live: Live}
