"""The tracker: the bits of the files, live; nothing kept, nothing changed, errors that say why."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to
from torch.utils._python_dispatch import TorchDispatchMode

import accweight_core as aw
from accweight_core import kernels
from accweight_core.errors import (
    AccweightError,
    MismatchError,
    NonFiniteError,
    ShapeMismatchError,
    StepOrderError,
    StoreError,
    UnknownNameError,
)
from accweight_core.live import batches, measuring
from accweight_core.live.batches import Batches
from accweight_core.schema import Role, Run

Stored = Callable[..., Run]
Weights = dict[str, torch.Tensor]

SHAPES = [shape for shape in oracle.SHAPES if len(shape) != 1] + [(3, 0)]


def checkpoints_of(dtype: torch.dtype = torch.float32, steps: int = 4) -> list[Weights]:
    """Checkpoints with one matrix or convolution per shape, and biases."""
    walks = {f"l{i}.weight": oracle.series(s, dtype, steps) for i, s in enumerate(SHAPES)}
    walks |= {"l1.bias": oracle.series((100000,), dtype, steps, seed=9)}
    return [{name: states[t] for name, states in walks.items()} for t in range(steps)]


def tracked(checkpoints: list[Weights], **options: object) -> aw.ChangeTracker:
    tracker = aw.ChangeTracker(errors="raise", **options)
    for step, weights in enumerate(checkpoints):
        tracker.update(weights, step=step * 10)
    return tracker


# --- the same numbers as from files


@pytest.mark.parametrize("dtype", oracle.DTYPES, ids=str)
def test_the_tracker_gives_the_bits_of_the_files(stored: Stored, dtype: torch.dtype) -> None:
    checkpoints = checkpoints_of(dtype)

    analysis = tracked(checkpoints).analysis()
    files = aw.analyze(stored(checkpoints), threads=2, block_elements=16384)

    assert analysis.steps.tolist() == files.steps.tolist() == [0, 10, 20, 30]
    assert {p.name for p in analysis.parameters} == {p.name for p in files.parameters}
    for name in checkpoints[0]:
        ours, theirs = analysis.parameter_index(name), files.parameter_index(name)
        assert analysis.values[:, ours].tobytes() == files.values[:, theirs].tobytes()
        assert analysis.cumulative(name).tobytes() == files.cumulative(name).tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_of_torch_change_no_bit(torch_threads: Callable[[int], None], threads: int) -> None:
    checkpoints = checkpoints_of(torch.complex64)
    expected = aw.analyze(aw.open_run(checkpoints), threads=1).values.tobytes()
    torch_threads(threads)

    values = tracked(checkpoints).analysis().values

    assert values.tobytes() == expected


@settings(max_examples=up_to(15))
@given(rows=st.integers(0, 70), columns=st.integers(0, 2000), dtype=st.sampled_from(oracle.DTYPES))
def test_any_matrix_gives_the_bits_of_a_run_in_memory(
    rows: int, columns: int, dtype: torch.dtype
) -> None:
    walk = oracle.series((rows, columns), dtype, steps=3)
    checkpoints = [{"a.weight": w, "b.weight": torch.ones(2, 2) * t} for t, w in enumerate(walk)]

    analysis = tracked(checkpoints).analysis()
    memory = aw.analyze(aw.open_run(checkpoints))

    assert analysis.values.tobytes() == memory.values.tobytes()


def test_arrays_and_tensors_are_tracked_alike() -> None:
    checkpoints = checkpoints_of()
    arrays = [{name: value.numpy() for name, value in c.items()} for c in checkpoints]

    assert (
        tracked(arrays).analysis().values.tobytes()
        == tracked(checkpoints).analysis().values.tobytes()
    )


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_arrays_of_ml_dtypes_are_tracked(name: str) -> None:
    kind = getattr(ml_dtypes, name)
    tracker = aw.ChangeTracker(errors="raise")

    for value in (0.5, 1.75):
        tracker.update({"a.weight": np.full((2, 3), value, kind)})

    assert (tracker.cumulative("a.weight") == 1.25).all()


def test_views_and_write_protected_arrays_are_tracked_in_their_own_order() -> None:
    walk = [state.numpy() for state in oracle.series((40, 30))]
    turned = [np.asfortranarray(state) for state in walk]
    for array in turned:
        array.setflags(write=False)
    tracker = aw.ChangeTracker(errors="raise")

    for state in turned:
        tracker.update({"a.weight": state})

    expected = tracked([{"a.weight": state} for state in walk]).cumulative("a.weight")
    assert tracker.cumulative("a.weight").tobytes() == expected.tobytes()


def test_live_parameters_of_a_module_are_tracked() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    tracker = aw.ChangeTracker(errors="raise").update(module.state_dict())

    with torch.no_grad():
        module[0].weight += 0.25
    tracker.update(dict(module.named_parameters()) | dict(module.named_buffers()))

    analysis = tracker.analysis()
    assert [p.name for p in analysis.parameters] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_allclose(analysis.cumulative("0.weight"), 0.25, rtol=1e-6)
    assert analysis.ranking()["layer"].tolist() == ["0"]


def test_what_was_given_is_neither_kept_nor_changed() -> None:
    weights = torch.tensor([[1.0, math.nan], [math.inf, 2.0]])
    before = weights.clone()
    tracker = aw.ChangeTracker(errors="raise").update({"a.weight": weights})
    tracker.update({"a.weight": weights})
    assert torch.equal(weights, before) or torch.equal(weights.nan_to_num(), before.nan_to_num())

    weights.fill_(100.0)
    tracker.update({"a.weight": torch.tensor([[2.0, 5.0], [6.0, 2.0]])})

    assert tracker.cumulative("a.weight").tolist() == [[1, 0], [0, 0]]


# --- what is not finite


def test_what_is_not_finite_gives_the_bits_of_the_files(stored: Stored) -> None:
    walk = oracle.series((30, 1000), steps=5)
    walk[0][0, 0] = walk[2][3, 3] = walk[4][29, 999] = math.nan
    walk[1][5, 5] = math.inf
    for state in walk:
        state[7, 7] = -math.inf
    checkpoints = [{"a.weight": state} for state in walk]

    analysis = tracked(checkpoints).analysis()

    assert analysis.values.tobytes() == aw.analyze(stored(checkpoints)).values.tobytes()
    assert analysis.table()["nonfinite"].tolist() == [2, 2, 2, 1, 2]


def test_strict_refuses_before_anything_is_counted() -> None:
    tracker = aw.ChangeTracker(strict=True).update(
        {"a.weight": torch.zeros(2, 2), "b.weight": torch.zeros(2, 2)}
    )
    broken = {"a.weight": torch.ones(2, 2), "b.weight": torch.full((2, 2), math.nan)}

    with pytest.raises(NonFiniteError, match=r"parameter 'b.weight' holds NaN .* at step 7"):
        tracker.update(broken, step=7)

    tracker.update({name: torch.ones(2, 2) for name in broken}, step=8)
    assert tracker.analysis().steps.tolist() == [0, 8]
    assert (tracker.cumulative("a.weight") == 1).all()


# --- steps and going on


def test_steps_count_from_zero_unless_given() -> None:
    tracker = aw.ChangeTracker(errors="raise")

    for step in (None, None, 10, None):
        tracker.update({"a.weight": torch.zeros(2, 2)}, step=step)

    assert tracker.analysis().steps.tolist() == [0, 1, 10, 11]


def test_steps_must_grow() -> None:
    tracker = aw.ChangeTracker(errors="raise").update({"a.weight": torch.zeros(2, 2)}, step=5)

    with pytest.raises(StepOrderError, match="step 5 came after step 5; steps must grow"):
        tracker.update({"a.weight": torch.zeros(2, 2)}, step=5)


def test_one_update_shows_no_change() -> None:
    tracker = aw.ChangeTracker(errors="raise").update({"a.weight": torch.zeros(2, 2)})

    with pytest.raises(MismatchError, match="at least two updates, there have been 1"):
        tracker.analysis()


def test_the_tracker_goes_on_after_an_analysis() -> None:
    checkpoints = checkpoints_of(steps=5)
    tracker = tracked(checkpoints[:3])
    early = tracker.analysis()

    for step in (3, 4):
        tracker.update(checkpoints[step], step=step * 10)

    late = tracker.analysis()
    assert late.values.tobytes() == tracked(checkpoints).analysis().values.tobytes()
    assert late.values[:3].tobytes() == early.values.tobytes()


def test_an_analysis_never_passes_later_change_off_as_its_own() -> None:
    tracker = aw.ChangeTracker(errors="raise")
    for value in (0.0, 1.0):
        tracker.update({"a.weight": torch.full((2, 2), value)})
    analysis = tracker.analysis()
    tracker.update({"a.weight": torch.full((2, 2), 5.0)})

    try:
        found = analysis.cumulative("a.weight", 1)
    except AccweightError:
        return  # gone is honest

    assert (found == 1).all()


def test_earlier_steps_are_gone_and_said_to_be() -> None:
    analysis = tracked(checkpoints_of()).analysis()

    with pytest.raises(AccweightError, match="exact values are kept of the last step alone"):
        analysis.cumulative("l1.weight", 10)


def test_sums_that_wait_are_folded_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = checkpoints_of(steps=6)
    expected = tracked(checkpoints).analysis().values
    monkeypatch.setattr(Batches, "on_cpu", False)
    monkeypatch.setattr(measuring, "PENDING_STEPS", 4)

    values = tracked(checkpoints).analysis().values

    assert values.tobytes() == expected.tobytes()


# --- many small tensors, and other devices


class Launches(TorchDispatchMode):
    """Counts the operations that do something, as a device would have to be told of them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Count one."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def small_tensors(count: int, steps: int) -> list[Weights]:
    walks = {f"l{i}.weight": oracle.series((8, 8), steps=steps, seed=i) for i in range(count)}
    return [{name: walk[t] for name, walk in walks.items()} for t in range(steps)]


def test_a_thousand_small_tensors_are_as_few_launches_as_ten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "measure_step", kernels.measure_step)  # as on a device
    monkeypatch.setattr(batches, "BATCH_ELEMENTS_CPU", batches.BATCH_ELEMENTS)
    counts = []

    for tensors in (10, 1000):
        first, second = small_tensors(tensors, steps=2)
        measured = Batches(first)
        measured.take(first)
        with Launches() as launches:
            measured.take(second)
        counts.append(launches.count)

    assert counts[0] == counts[1]
    assert counts[0] < 60


def test_a_step_never_waits_for_a_device() -> None:
    weights = torch.zeros(3, 100)
    state, _ = kernels.start_block(weights)
    for name in ("reference", "reference_square", "previous", "total"):
        setattr(state, name, getattr(state, name).to("meta"))

    sums = kernels.measure_step(state, weights.to("meta"), kernels.Scratch())

    assert sums.is_meta  # whose values cannot be waited for: that raises


@pytest.mark.parametrize("most", [1, 100, 1 << 22])
def test_how_tensors_are_batched_changes_no_bit(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    checkpoints = [
        a | b for a, b in zip(small_tensors(30, steps=3), checkpoints_of(steps=3), strict=True)
    ]
    expected = tracked(checkpoints)
    monkeypatch.setattr(batches, "BATCH_ELEMENTS_CPU", most)

    tracker = tracked(checkpoints)

    assert tracker.analysis().values.tobytes() == expected.analysis().values.tobytes()
    for name in checkpoints[0]:
        assert tracker.cumulative(name).tobytes() == expected.cumulative(name).tobytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float64", "compensated"])
def test_a_gpu_measures_what_the_processor_measures(precision: str) -> None:
    checkpoints = checkpoints_of(steps=5)
    checkpoints[2]["l1.weight"].view(-1)[3] = math.nan
    moved = [{name: value.cuda() for name, value in c.items()} for c in checkpoints]

    values = tracked(moved, precision=precision).analysis().values

    np.testing.assert_allclose(values, tracked(checkpoints).analysis().values, rtol=2e-6)


# --- without float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_compensated_metrics_agree_with_those_in_double(dtype: torch.dtype) -> None:
    checkpoints = checkpoints_of(dtype, steps=6)
    checkpoints[3]["l1.weight"].view(-1)[5] = math.nan

    analysis = tracked(checkpoints, precision="compensated").analysis()

    expected = tracked(checkpoints).analysis()
    for row, other in zip(analysis.measured(), expected.measured(), strict=True):
        for metric, values in row.metrics.items():
            np.testing.assert_allclose(values, other.metrics[metric], rtol=5e-6, err_msg=metric)
    for name in checkpoints[0]:
        np.testing.assert_allclose(
            analysis.cumulative(name), expected.cumulative(name), rtol=2.5e-7
        )


@pytest.mark.parametrize("precision", ["float64", "compensated"])
def test_tiny_steps_on_a_long_path_are_not_lost(precision: str) -> None:
    tracker = aw.ChangeTracker(errors="raise", precision=precision)
    for value in (0.0, 1e4, 0.0):
        tracker.update({"a.weight": torch.full((2, 2), value)})

    for step in range(1000):  # each far below half a unit in the last place of a float32 2e4
        tracker.update({"a.weight": torch.full((2, 2), 2.0**-17 * ((step + 1) % 2))})

    assert (tracker.cumulative("a.weight") - 2e4 == 1000 * 2.0**-17).all()


def test_nothing_is_float64_when_compensated() -> None:
    first, second = small_tensors(3, steps=2)
    measured = Batches(first, compensated=True)

    sums = [*measured.take(first), *measured.take(second)]

    tensors = [v for b in measured._batches for v in vars(b.state).values() if v is not None]
    tensors += measured._scratch._buffers.values()
    assert {tensor.dtype for tensor in [*sums, *tensors]} == {torch.float32}


def test_a_precision_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="got 'half'"):
        aw.ChangeTracker(precision="half")  # type: ignore[arg-type]


# --- what is tracked, and what is refused


def test_roles_that_are_asked_for_are_tracked_and_shown() -> None:
    checkpoints = [
        {"a.weight": torch.ones(2, 2) * t, "a.bias": torch.ones(2) * 3 * t} for t in range(2)
    ]

    analysis = tracked(checkpoints, roles=(Role.BIAS,)).analysis()

    assert analysis.ranking()["max"].tolist() == [3]
    assert analysis.maximum is not None
    assert analysis.maximum.parameter == "a.bias"


def test_nothing_to_track_is_an_error() -> None:
    with pytest.raises(MismatchError, match="none of the 1 tensors given is a weight"):
        aw.ChangeTracker(errors="raise").update({"bn.num_batches_tracked": torch.tensor(3)})


def test_a_parameter_that_went_missing_is_named() -> None:
    tracker = aw.ChangeTracker(errors="raise").update({"a.weight": torch.zeros(2, 2)})

    with pytest.raises(MismatchError, match=r"parameter 'a.weight' is missing at step 1"):
        tracker.update({"b.weight": torch.zeros(2, 2)})


def test_a_shape_that_changed_is_named_with_both() -> None:
    tracker = aw.ChangeTracker(errors="raise").update({"a.weight": torch.zeros(2, 2)})

    with pytest.raises(ShapeMismatchError) as caught:
        tracker.update({"a.weight": torch.zeros(4, 1)})

    assert "parameter 'a.weight' has shape (4, 1) but (2, 2) was expected (step 1)" in str(
        caught.value
    )


def test_an_update_that_fails_leaves_the_tracker_as_it_was() -> None:
    names = ["a.weight", "b.weight"]
    tracker = aw.ChangeTracker(errors="raise").update({name: torch.zeros(2, 2) for name in names})

    with pytest.raises((TypeError, AccweightError)):
        tracker.update({"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2).int()})
    tracker.update({name: torch.ones(2, 2) for name in names})

    assert (tracker.cumulative("a.weight") == 1).all()
    assert tracker.analysis().table()["step_mean"].tolist() == [0, 1, 0, 1]


def test_a_first_update_that_fails_leaves_nothing_behind() -> None:
    tracker = aw.ChangeTracker(strict=True)

    with pytest.raises(NonFiniteError):
        tracker.update({"a.weight": torch.full((2, 2), math.nan)})
    for value in (0.0, 1.0):
        tracker.update({"b.weight": torch.full((2, 2), value)})

    assert [p.name for p in tracker.analysis().parameters] == ["b.weight"]


def test_integers_are_refused_as_everywhere() -> None:
    with pytest.raises(AccweightError, match=r"a.weight"):
        aw.ChangeTracker(errors="raise").update({"a.weight": torch.ones(2, 2, dtype=torch.int8)})


def test_a_name_that_is_not_tracked_is_an_error() -> None:
    tracker = aw.ChangeTracker(errors="raise").update({"a.weight": torch.zeros(2, 2)})

    with pytest.raises(UnknownNameError, match=r"no parameter is called 'b'; there are 1: "):
        tracker.cumulative("b")


# --- saving


def test_a_saved_analysis_has_the_same_numbers(tmp_path: Path) -> None:
    analysis = tracked(checkpoints_of()).analysis()

    saved = analysis.save(tmp_path / "live.accw")

    assert saved.values.tobytes() == analysis.values.tobytes()
    assert saved.header.maximum == analysis.header.maximum
    assert aw.open_analysis(tmp_path / "live.accw").ranking().equals(analysis.ranking())


def test_saving_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "live.accw"
    target.mkdir()

    with pytest.raises(StoreError, match="exists already; nothing is overwritten without"):
        tracked(checkpoints_of(steps=2)).analysis().save(target)
