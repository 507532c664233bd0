"""Sharded training that is killed and goes on, in as many processes or others, over gloo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo_processes import Scenes, die_together, play, sharded
from torch import distributed, nn

import accweight_core as aw
from accweight_core.errors import ArgumentTypeError, ArgumentValueError, MismatchError

STEPS, SAVED, KILLED = 6, 2, 4
"""Updates in all; the last one with a saved state; the one after which the processes are killed."""

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


def weights_at(step: int) -> nn.Sequential:
    """A model whose weights depend on the step alone; four rows of the matrix are a sub-block."""
    torch.manual_seed(step)
    return nn.Sequential(nn.Linear(4096, 16), nn.LayerNorm(5), nn.Embedding(7, 12))


def update(tracker: aw.ChangeTracker, steps: range, processes: int) -> None:
    for step in steps:
        model = weights_at(step)
        if processes > 1:
            sharded(model, processes)
        tracker.update(model, step=step, loss=step / 4)


def save(tracker: aw.ChangeTracker, name: str, place: int, out: Path) -> None:
    torch.save(tracker.state_dict(), out / f"{name}_{place}.pt")


def loaded(name: str, place: int, out: Path) -> Any:
    return torch.load(out / f"{name}_{place}.pt", weights_only=True)


def told(out: Path, name: str, place: int, value: object) -> None:
    (out / f"{name}_{place}.txt").write_text(str(value))


def in_one_go(place: int, processes: int, out: Path) -> None:
    with aw.ChangeTracker(out / "one_go.accw", errors="raise") as tracker:
        update(tracker, range(STEPS), processes)
        np.save(out / f"one_go_{place}.npy", tracker.analysis().values)
        save(tracker, "last", place, out)


def until_it_is_killed(place: int, processes: int, out: Path) -> None:
    tracker = aw.ChangeTracker(out / "killed.accw", errors="raise")
    update(tracker, range(SAVED + 1), processes)
    save(tracker, "saved", place, out)
    update(tracker, range(SAVED + 1, KILLED + 1), processes)
    tracker.flush()
    die_together()


def going_on(place: int, processes: int, out: Path) -> None:
    with aw.ChangeTracker(out / "killed.accw", resume=True, errors="raise") as tracker:
        tracker.load_state_dict(loaded("saved", place, out))
        save(tracker, "unchanged", place, out)
        update(tracker, range(SAVED + 1, STEPS), processes)
        np.save(out / f"going_on_{place}.npy", tracker.analysis().values)


def in_more_processes(place: int, processes: int, out: Path) -> None:
    tracker = aw.ChangeTracker(errors="raise")
    tracker.load_state_dict([loaded("saved", part, out) for part in range(2)])
    update(tracker, range(SAVED + 1, STEPS), processes)
    np.save(out / f"more_{place}.npy", tracker.analysis().values)
    save(tracker, "more", place, out)


def with_parts_of_others(place: int, processes: int, out: Path) -> None:
    try:
        aw.ChangeTracker().load_state_dict(loaded("saved", 1 - place, out))
    except (ArgumentValueError, MismatchError) as error:
        told(out, "others", place, error)


def with_states_of_different_steps(place: int, processes: int, out: Path) -> None:
    try:
        aw.ChangeTracker().load_state_dict(loaded(("last", "saved")[place], place, out))
    except MismatchError as error:
        told(out, "apart", place, error)


def without_a_state(place: int, processes: int, out: Path) -> None:
    with aw.ChangeTracker(out / "killed.accw", resume=True) as tracker:
        update(tracker, range(STEPS, STEPS + 2), processes)
        told(out, "without", place, tracker._measuring.steps)


def at_different_steps(place: int, processes: int, out: Path) -> None:
    tracker = aw.ChangeTracker()
    for step in range(3):
        update(tracker, range(step * (1 + place), step * (1 + place) + 1), processes)
    told(out, "different", place, tracker._measuring.steps)


def wrongly(place: int, processes: int, out: Path) -> None:
    for mistake in (
        with_parts_of_others, with_states_of_different_steps, without_a_state, at_different_steps
    ):  # fmt: skip
        mistake(place, processes, out)


SCENES: Scenes = (
    (in_one_go, 2),
    (until_it_is_killed, 2),
    (going_on, 2),
    (in_more_processes, 4),
    (wrongly, 2),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes of all scenes have written."""
    folder = tmp_path_factory.mktemp("played")
    play(folder, SCENES)
    return folder


def texts(played: Path, name: str, processes: int = 2) -> list[str]:
    return [(played / f"{name}_{place}.txt").read_text() for place in range(processes)]


def test_training_that_was_killed_goes_on_with_the_bits_of_one_go(played: Path) -> None:
    one_go = np.load(played / "one_go_0.npy")
    stored, resumed = (aw.open_analysis(played / f"{n}.accw") for n in ("one_go", "killed"))

    for place in range(2):
        assert np.load(played / f"going_on_{place}.npy").tobytes() == one_go.tobytes()
    assert resumed.values.tobytes() == stored.values.tobytes() == one_go.tobytes()
    assert [c.step for c in resumed.header.checkpoints] == list(range(STEPS))
    assert resumed.header.measures["loss"].tolist() == stored.header.measures["loss"].tolist()


def test_a_part_that_was_loaded_is_saved_as_it_was(played: Path) -> None:
    for place in range(2):
        before, after = (loaded(name, place, played) for name in ("saved", "unchanged"))
        assert before["shard"] == after["shard"]
        for name, state in before["weights"].items():
            for part, values in state.items():
                assert torch.equal(values, after["weights"][name][part])


def test_parts_of_all_processes_continue_in_another_number_of_processes(played: Path) -> None:
    one_go = aw.open_analysis(played / "one_go.accw")
    matrix = one_go.parameter_index("0.weight")

    more = [np.load(played / f"more_{place}.npy") for place in range(4)]
    alone = aw.ChangeTracker(errors="raise")
    alone.load_state_dict([loaded("saved", place, played) for place in (1, 0)])
    update(alone, range(SAVED + 1, STEPS), 1)

    for found in (*more, alone.analysis().values):
        assert found[:, matrix].tobytes() == one_go.values[:, matrix].tobytes()
        np.testing.assert_allclose(found, one_go.values, rtol=4e-12)


@pytest.mark.parametrize(("name", "processes"), [("last", 2), ("more", 4)])
def test_parts_of_all_processes_are_the_state_of_one(
    played: Path, name: str, processes: int
) -> None:
    whole = aw.ChangeTracker(errors="raise")
    update(whole, range(STEPS), 1)

    states = [loaded(name, place, played) for place in range(processes)]
    joined = aw.ChangeTracker().load_state_dict(states).state_dict()

    for parameter, state in whole.state_dict()["weights"].items():
        for part, values in state.items():
            assert torch.equal(values, joined["weights"][parameter][part])


def test_the_part_of_another_process_is_refused_in_all(played: Path) -> None:
    found = texts(played, "others")

    assert found[0].startswith("the state of the tracker is the part of process 1 of 2, and this")
    assert all("list of the states of all processes" in text for text in found)


def test_states_of_different_steps_are_refused_in_all(played: Path) -> None:
    expected = "process 0: 6 steps up to 5, process 1: 3 steps up to 2"

    assert all(expected in text for text in texts(played, "apart"))


def test_without_the_state_of_an_existing_store_no_process_waits_for_the_other(
    played: Path,
) -> None:
    assert texts(played, "without") == ["[]"] * 2


def test_processes_at_different_steps_stop_tracking_instead_of_waiting(played: Path) -> None:
    assert texts(played, "different") == ["[0]"] * 2


def test_a_part_alone_is_refused_in_a_process_of_its_own(played: Path) -> None:
    with pytest.raises(ArgumentValueError, match=r"part of process 1 of 2, and this is process 0"):
        aw.ChangeTracker().load_state_dict(loaded("saved", 1, played))


def test_parts_that_do_not_belong_together_are_refused(played: Path) -> None:
    first, second = (loaded("saved", place, played) for place in range(2))
    whole = aw.ChangeTracker().update(weights_at(0)).state_dict()
    cases: list[tuple[list[Any], type[Exception], str]] = [
        ([first], ArgumentValueError, "expected the states of processes 0 to 1, got those of 0"),
        ([first, first], ArgumentValueError, "got those of 0, 0"),
        ([first, loaded("last", 1, played)], ArgumentValueError, "saved at the same step"),
        ([first, whole], ArgumentValueError, "whole model"),
        ([], ArgumentTypeError, "of all processes"),
        ([first, 3], ArgumentTypeError, "of all processes"),
        ([{**first, "shard": {"process": -1}}, second], ArgumentValueError, "damaged"),
        ([{**first, "weights": {}}, second], ArgumentValueError, "'0.weight'"),
        ([first, {**second, "weights": {}}], ArgumentValueError, "'0.weight'"),
    ]

    for states, kind, text in cases:
        with pytest.raises(kind, match=text):
            aw.ChangeTracker().load_state_dict(states)


def test_a_whole_state_may_be_given_in_a_list() -> None:
    tracker = aw.ChangeTracker()
    update(tracker, range(2), 1)

    loaded = aw.ChangeTracker().load_state_dict([tracker.state_dict()])

    assert loaded.analysis().values.tobytes() == tracker.analysis().values.tobytes()
