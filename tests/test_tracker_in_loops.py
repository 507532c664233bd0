"""The tracker in a training loop: which updates it takes, what else it keeps, how it fails."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accweight_core as aw
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    ArgumentValueError,
    MismatchError,
    NonFiniteError,
    SourceError,
)
from accweight_core.live.schedule import due_by

Weights = dict[str, torch.Tensor]


def weights_at(step: int, *names: str) -> Weights:
    generator = torch.Generator().manual_seed(step)
    shapes = {"a.weight": (7, 5), "a.bias": (7,), "b.weight": (3, 300)}
    found = {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    return {name: found[name] for name in names or found}


def tracked(steps: range, *names: str, **options: Any) -> aw.ChangeTracker:
    tracker = aw.ChangeTracker(errors="raise", **options)
    for step in steps:
        tracker.update(weights_at(step, *names), step=step, loss=step / 4)
    return tracker


def steps_of(tracker: aw.ChangeTracker) -> list[int]:
    return tracker.analysis().steps.tolist()


# --- which updates are taken


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (None, list(range(3, 25))),
        (1, list(range(3, 25))),
        (10, [3, 10, 20]),
        (100, [3]),
        ("log", [3, 5, 10, 20]),
        ([4, 19, 7], [3, 4, 7, 19]),
        (lambda step: step % 11 == 0, [3, 11, 22]),
        (np.int64(10), [3, 10, 20]),
    ],
)
def test_updates_are_taken_by_a_schedule(every: Any, expected: list[int]) -> None:
    tracker = tracked(range(3, 25), every=every)

    assert tracker._measuring.steps == expected


def test_a_loop_that_steps_over_the_schedule_misses_nothing() -> None:
    due, last, taken = due_by(100), 0, []
    for step in range(33, 500, 33):
        if due(step, last):
            taken.append(step)
            last = step

    assert taken == [132, 231, 330, 429]


def test_the_log_schedule_has_three_steps_a_decade() -> None:
    due, last, taken = due_by("log"), 0, []
    for step in range(1, 2001):
        if due(step, last):
            taken.append(step)
            last = step

    assert taken == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]


def test_an_update_can_be_forced_and_steps_count_on_without_it() -> None:
    tracker = aw.ChangeTracker(every=10, errors="raise")
    for step in range(13):
        tracker.update(weights_at(step), force=step == 12)

    assert steps_of(tracker) == [0, 10, 12]


def test_what_is_skipped_is_not_looked_at() -> None:
    tracker = aw.ChangeTracker(every=10, errors="raise").update(weights_at(0))

    for step in range(1, 10):
        tracker.update("not a model", step=step, loss="not a number")

    tracker.update(weights_at(10), step=10)
    assert steps_of(tracker) == [0, 10]


@pytest.mark.parametrize(
    ("every", "message"),
    [
        (0, "every must be at least 1, got 0"),
        ("epochs", "got 'epochs'"),
        ("epoch", r'every="epoch" is for the callbacks of frameworks.*call update\(\) then'),
        ("rollout", 'every="rollout" is for the callbacks'),
        (1.5, "got 1.5"),
        ([1, "x"], "'x' is not a step"),
    ],
)
def test_a_schedule_that_is_none_is_an_error_at_once(every: Any, message: str) -> None:
    with pytest.raises(AccweightError, match=message):
        aw.ChangeTracker(every=every)


# --- training figures


def test_figures_are_kept_as_those_of_checkpoints(tmp_path: Path) -> None:
    tracker = aw.ChangeTracker(errors="raise")
    tracker.update(weights_at(0), loss=2, accuracy=None, lr=np.float32(0.5))
    tracker.update(weights_at(1), loss=torch.tensor([0.25]), accuracy=torch.tensor(0.5))
    tracker.update(weights_at(2), loss=math.nan, accuracy=np.array(0.75))

    for analysis in (tracker.analysis(), tracker.save(tmp_path / "a.accw")):
        measures = analysis.header.measures
        assert list(measures) == ["loss", "lr", "accuracy"]
        np.testing.assert_array_equal(measures["loss"], [2, 0.25, np.nan])
        np.testing.assert_array_equal(measures["accuracy"], [np.nan, 0.5, 0.75])


def test_a_loss_that_is_not_finite_is_kept_and_said(tmp_path: Path) -> None:
    losses = [2.0, math.inf, math.nan, torch.tensor(-math.inf)]
    tracker = aw.ChangeTracker(tmp_path / "a.accw", errors="raise")
    for step, loss in enumerate(losses[:2]):
        tracker.update(weights_at(step), loss=loss)
    tracker.close()
    with aw.ChangeTracker(tmp_path / "a.accw", errors="raise", resume=True) as going_on:
        going_on.load_state_dict(going_on.state_dict())
        for step, loss in enumerate(losses[2:], 2):
            going_on.update(weights_at(step), step, loss=loss)

    for analysis in (going_on.analysis(), aw.open_analysis(tmp_path / "a.accw")):
        records = analysis.header.checkpoints
        assert [str(record.figures["loss"]) for record in records] == ["2.0", "inf", "nan", "-inf"]
        np.testing.assert_array_equal(analysis.header.measures["loss"], [2, *[np.nan] * 3])
        (found,) = [f for f in aw.check(analysis).findings if f.kind == "nonfinite_figure"]
        assert found.text == (
            "loss is inf at step 1, and not finite at 3 of the 4 steps that have it"
        )


def test_merged_trackers_keep_what_was_not_finite() -> None:
    one, other = aw.ChangeTracker(errors="raise"), aw.ChangeTracker(errors="raise")
    for step in range(2):
        one.update({"a.weight": torch.ones(2, 2) * step}, loss=math.inf)
        other.update({"b.weight": torch.ones(2, 2) * step})

    (first, _) = other.merge(one).analysis().header.checkpoints

    assert first.figures == {"loss": math.inf}


@pytest.mark.parametrize("loss", [True, "0.5", torch.ones(2), [1.0], {"train": 1.0}], ids=repr)
def test_what_is_no_figure_costs_no_weights(loss: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ArgumentTypeError, match="loss must be a number, or a tensor of one"):
        aw.ChangeTracker(errors="raise").update(weights_at(0), loss=loss)

    tracker = aw.ChangeTracker()
    for step in range(3):
        tracker.update(weights_at(step), loss=loss, lr=0.5)

    assert steps_of(tracker) == [0, 1, 2]
    assert [r.message.count("loss must be a number") for r in caplog.records] == [1]


# --- errors are reported, training goes on


def test_errors_are_reported_once_and_the_tracker_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = aw.ChangeTracker().update(weights_at(0))

    for step in range(1, 4):
        tracker.update({"a.weight": torch.zeros(2, 2)}, step=step)
    tracker.update(weights_at(4), step=4)

    assert steps_of(tracker) == [0, 4]
    (record,) = caplog.records
    assert record.name == "accweight"
    assert record.levelno == logging.WARNING
    assert record.message == (
        "accweight: parameter 'a.weight' has shape (2, 2) but (7, 5) was expected (step 1); "
        "a model that was changed is another run, with a tracker and a store of its own; "
        "this update is left out, and training goes on"
    )


def test_layers_that_come_later_are_said_once_not_to_be_tracked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))
    tracker = aw.ChangeTracker().update(model)
    for _ in range(2):
        model.append(torch.nn.Linear(3, 3))
        tracker.update(model)

    assert steps_of(tracker) == [0, 1, 2]
    (told,) = caplog.messages
    assert told == (
        "accweight: the model has parameters at step 1 that it had not at the first update; these "
        "are not tracked: a model that was changed is another run, with a tracker and a store of "
        "its own"
    )


def test_updates_within_inference_mode_count() -> None:
    model = torch.nn.Linear(3, 3)
    tracker, plain = aw.ChangeTracker(errors="raise"), aw.ChangeTracker(errors="raise")
    for step in range(4):
        with torch.no_grad():
            model.weight += step / 4
        plain.update({n: value.clone() for n, value in model.state_dict().items()}, step)
        with torch.inference_mode() if step % 2 else torch.no_grad():
            tracker.update(model, step)

    assert tracker.analysis().values.tobytes() == plain.analysis().values.tobytes()


def test_updates_within_what_is_compiled_count() -> None:
    model = torch.nn.Linear(3, 3)
    tracker = aw.ChangeTracker(errors="raise")

    @torch.compile(backend="eager")  # type: ignore[untyped-decorator]
    def step_of(number: int) -> torch.Tensor:
        total: torch.Tensor = model(torch.ones(1, 3)).sum()
        tracker.update(model, number, loss=total.detach())
        return total

    with torch.no_grad():
        for step in range(3):
            step_of(step)

    assert steps_of(tracker) == [0, 1, 2]


def test_a_tracker_that_is_saved_as_a_whole_says_what_can_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"cannot be copied or pickled.*state_dict\(\)"):
        torch.save({"tracker": aw.ChangeTracker()}, tmp_path / "last.pt")


def test_a_failure_within_a_measurement_ends_tracking_and_not_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = tracked(range(3))
    tracker._reports = aw.ChangeTracker()._reports
    before = tracker.analysis().values.tobytes()

    def broken(*args: object) -> None:
        raise RuntimeError("CUDA error:\nan illegal memory access")

    monkeypatch.setattr("accweight_core.live.batches.measure_step", broken)
    tracker.update(weights_at(3), step=3)
    monkeypatch.undo()
    tracker.update(weights_at(4), step=4)

    assert tracker.analysis().values.tobytes() == before
    (message,) = caplog.messages
    assert message == (
        "accweight: RuntimeError: CUDA error: an illegal memory access; tracking has stopped, "
        "and training goes on"
    )


def test_strict_raises_non_finite_weights_and_reports_the_rest() -> None:
    tracker = aw.ChangeTracker(strict=True).update(weights_at(0))

    tracker.update(5, step=1)
    with pytest.raises(NonFiniteError, match="at step 2"):
        tracker.update({n: v * math.nan for n, v in weights_at(0).items()}, step=2)


def test_an_analysis_without_updates_says_what_was_wrong_with_them() -> None:
    tracker = aw.ChangeTracker().update(weights_at(0)).update(5)

    with pytest.raises(MismatchError, match="there have been 1; one was left out: expected a mod"):
        tracker.analysis()


# --- stopping and going on


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def torn(step: int) -> Weights:
    """Weights with elements that are not finite, at first or later."""
    weights = weights_at(step)
    weights["a.weight"][0, 0] = math.nan
    if step < 3:
        weights["b.weight"][1, 5] = math.inf
    if step == 4:
        weights["b.weight"][2, 7] = -math.inf
    return weights


@pytest.mark.parametrize("precision", ["float64", "compensated"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_a_tracker_that_was_saved_goes_on_bit_for_bit(dtype: torch.dtype, precision: Any) -> None:
    checkpoints = [{n: v.to(dtype) for n, v in torn(step).items()} for step in range(6)]
    whole = aw.ChangeTracker(errors="raise", precision=precision)
    part = aw.ChangeTracker(errors="raise", precision=precision, every="log")
    for step, weights in enumerate(checkpoints):
        whole.update(weights, loss=step)
    for step in range(3):
        part.update(checkpoints[step], loss=step, force=True)

    resumed = aw.ChangeTracker(errors="raise", precision=precision)
    resumed.load_state_dict(saved_and_loaded(part.state_dict()))
    assert resumed.cumulative("b.weight").tobytes() == part.cumulative("b.weight").tobytes()
    again = aw.ChangeTracker(errors="raise", precision=precision)
    again.load_state_dict(resumed.state_dict())  # before anything was measured
    for step in range(3, 6):
        again.update(checkpoints[step], loss=step)

    ours, expected = again.analysis(), whole.analysis()
    assert ours.values.tobytes() == expected.values.tobytes()
    assert ours.header == expected.header
    for name in checkpoints[0]:
        assert again.cumulative(name).tobytes() == whole.cumulative(name).tobytes()


def test_an_empty_state_and_a_reset_begin_anew() -> None:
    resumed = tracked(range(3)).load_state_dict(
        saved_and_loaded(aw.ChangeTracker(errors="raise").state_dict())
    )
    reset = tracked(range(5)).reset()

    for tracker in (resumed, reset):
        tracker.update(weights_at(3)).update(weights_at(4))
        assert steps_of(tracker) == [0, 1]
        assert (
            tracker.analysis().values.tobytes() == tracked(range(3, 5)).analysis().values.tobytes()
        )


def test_states_that_do_not_fit_are_refused() -> None:
    state = tracked(range(2)).state_dict()
    changes: list[tuple[str, Any, str]] = [
        ("format", 99, "has format 99, this version reads 1 and 2; upgrade"),
        ("precision", "compensated", "precision 'compensated', the tracker 'float64'"),
        ("header", "{", "is damaged"),
        ("sums", torch.zeros(1), "expected sums of shape"),
        ("weights", {}, "parameter 'a.weight' is damaged: expected its reference"),
    ]
    for key, value, message in changes:
        with pytest.raises(ArgumentValueError, match=message):
            aw.ChangeTracker().load_state_dict({**state, key: value})
    with pytest.raises(ArgumentTypeError, match="the state_dict"):
        aw.ChangeTracker().load_state_dict({})


# --- parts of one model


def test_trackers_of_two_parts_are_merged_into_one_of_the_whole() -> None:
    whole = tracked(range(6))
    first, second = tracked(range(4), "a.weight", "a.bias"), tracked(range(4), "b.weight")
    sent = aw.ChangeTracker(errors="raise").load_state_dict(saved_and_loaded(second.state_dict()))

    merged = first.merge(sent)
    assert merged.analysis().values.tobytes() == tracked(range(4)).analysis().values.tobytes()
    for step in (4, 5):
        merged.update(weights_at(step), loss=step / 4)

    assert merged.analysis().values.tobytes() == whole.analysis().values.tobytes()
    assert merged.analysis().header == whole.analysis().header
    assert second.cumulative("b.weight").tobytes() == tracked(range(4)).cumulative("b").tobytes()


def test_trackers_that_do_not_belong_together_are_not_merged() -> None:
    with pytest.raises(MismatchError, match=r"parameter 'a.weight' was tracked by both"):
        tracked(range(2)).merge(tracked(range(2), "a.weight"))
    with pytest.raises(MismatchError, match=r"different steps .step 2 is in one of them"):
        tracked(range(3), "a.weight").merge(tracked(range(2), "b.weight"))


# --- after training


def test_what_a_live_analysis_can_answer_is_said(tmp_path: Path) -> None:
    analysis = tracked(range(3)).analysis()
    saved = analysis.save(tmp_path / "a.accw")

    with pytest.raises(SourceError, match="exact values are kept of the last step alone, 2"):
        analysis.cumulative("a.weight", 1)
    assert "exact values of single weights cannot" in saved.header.notes[0]
    with pytest.raises(SourceError, match="was measured while training, without checkpoints"):
        saved.cumulative("a.weight")


def test_a_saved_analysis_is_replaced_on_request(tmp_path: Path) -> None:
    tracked(range(3)).save(tmp_path / "a.accw")

    saved = tracked(range(4)).save(tmp_path / "a.accw", overwrite=True)

    assert saved.steps.tolist() == [0, 1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["a.accw"]
