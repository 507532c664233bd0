"""Kernels: the plain formulas by hand, the fused step against the oracle, bits that stay put."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import ml_dtypes
import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to
from torch import Tensor

from accweight_core import kernels
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    MismatchError,
    UnsupportedDtypeError,
)
from accweight_core.kernels import SUMS, BlockState, Scratch, arrays, partition, start_block
from accweight_core.live import one_pass

Step = Callable[[BlockState, Tensor, Scratch], Tensor]
Start = Callable[[Tensor], tuple[BlockState, Tensor]]

VERSIONS: dict[str, Step] = {
    "operations": kernels.measure_step,
    "one pass": one_pass.measure_step,
}

WIDE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
versions = pytest.mark.parametrize("measure_step", VERSIONS.values(), ids=VERSIONS.keys())


def sums_of(
    states: list[Tensor], measure_step: Step, start: Start = start_block
) -> tuple[np.ndarray, BlockState]:
    """Partial sums (steps, rows, columns of SUMS) of a block through its states."""
    state, first = start(states[0].clone())
    scratch, rows = Scratch(), [first.clone()]
    for weights in states[1:]:
        current = weights.clone()
        rows.append(measure_step(state, current, scratch).clone())
        state.previous = current
    return torch.stack(rows).numpy(), state


def column(sums: np.ndarray, name: str) -> np.ndarray:
    return sums[..., SUMS.index(name)]


# --- plain formulas


def test_a_step_change_is_the_size_of_the_difference() -> None:
    change = kernels.step_change(torch.tensor([1.0, -2.0]), torch.tensor([1.5, 2.0]))

    assert change.tolist() == [0.5, 4.0]


def test_walking_there_and_back_counts_both_ways() -> None:
    home, away = torch.tensor([1.0, -1.0]), torch.tensor([3.0, -1.0])
    total = torch.zeros(2, dtype=torch.float64)

    kernels.accumulate_(total, home, away)
    kernels.accumulate_(total, away, home)

    assert total.tolist() == [4.0, 0.0]


def test_thousands_of_tiny_steps_on_a_large_total_do_not_stagnate() -> None:
    steps, home = up_to(100_000), torch.zeros(3)
    away = torch.tensor([2.0**-14, 1e-4, 3e-7])  # a unit in the last place of 2**14 is 2**-9
    total, compensation = torch.full((3,), 2.0**14), torch.zeros(3)
    single = total.clone()

    for _ in range(steps):
        kernels.accumulate_compensated_(total, compensation, home, away)
        single += away

    exact = away.double() * steps + 2.0**14
    assert torch.equal(single, torch.full((3,), 2.0**14))
    found = total.double() + compensation.double()
    np.testing.assert_allclose(found - 2.0**14, exact - 2.0**14, rtol=1e-5)


def test_a_step_that_dwarfs_the_path_behind_it_loses_none_of_that() -> None:
    total, compensation = torch.zeros(1), torch.zeros(1)

    for move in (1.0, 2.0**25):
        kernels.accumulate_compensated_(total, compensation, torch.zeros(1), torch.tensor([move]))

    assert float(total.double() + compensation.double()) == 2**25 + 1


@settings(max_examples=up_to(100))
@given(st.lists(st.floats(0, 2.0**60, width=32), min_size=1, max_size=50))
def test_compensated_sums_are_exact_to_the_last_digit_of_float32(moves: list[float]) -> None:
    total, compensation = torch.zeros(1), torch.zeros(1)

    for move in moves:
        kernels.accumulate_compensated_(total, compensation, torch.zeros(1), torch.tensor([move]))

    found = total.double() + compensation.double()
    np.testing.assert_allclose(found, math.fsum(moves), rtol=2.0**-23)


def test_the_change_of_complex_weights_is_a_modulus() -> None:
    change = kernels.step_change(torch.tensor([1j]), torch.tensor([3 + 5j]))

    assert change.tolist() == [5.0]
    assert change.dtype == torch.float32


@pytest.mark.parametrize("dtype", [*oracle.DTYPES, torch.complex128], ids=str)
def test_weights_are_widened_exactly_before_they_are_subtracted(dtype: torch.dtype) -> None:
    previous, current = oracle.series((50, 7), dtype, steps=2)
    expected = np.abs(oracle.wide(current) - oracle.wide(previous))

    change = kernels.step_change(previous, current)

    double = dtype in (torch.float64, torch.complex128)
    assert change.dtype == (torch.float64 if double else torch.float32)
    np.testing.assert_allclose(change.numpy(), expected, rtol=1e-15 if double else 2e-7)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.float8_e4m3fn, torch.float32),
        (torch.float8_e4m3fn, torch.float8_e5m2),
        (torch.bfloat16, torch.float16),
        (torch.float32, torch.float64),
    ],
    ids=str,
)
def test_two_steps_may_have_different_dtypes(first: torch.dtype, second: torch.dtype) -> None:
    previous, current = torch.tensor([0.5, -2.0]).to(first), torch.tensor([1.5, 2.0]).to(second)

    change = kernels.step_change(previous, current)

    assert change.tolist() == [1.0, 4.0]


def test_half_precision_complex_weights_keep_their_imaginary_part() -> None:
    assert kernels.widened_dtype(torch.complex32).is_complex


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
def test_change_keeps_edge_shapes(shape: tuple[int, ...]) -> None:
    change = kernels.step_change(torch.zeros(shape), torch.ones(shape))

    assert change.shape == shape
    assert (change == 1).all()


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(2,\) and \(3,\)"):
        kernels.step_change(torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64], ids=str)
def test_integers_have_no_meaning_as_weights(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"weights of dtype {dtype} have no scale; dequantise"):
        kernels.widened_dtype(dtype)


def test_normalised_change_is_a_share_of_the_maximum_and_zero_where_nothing_moved() -> None:
    total = torch.tensor([0.0, 1.0, 4.0])

    assert kernels.normalised(total, 4.0).tolist() == [0.0, 0.25, 1.0]
    assert kernels.normalised(torch.zeros(3), 0.0).tolist() == [0.0, 0.0, 0.0]


# --- plain formulas on NumPy arrays

ARRAYS = {
    "float32": np.linspace(-3, 4, 24, dtype=np.float32).reshape(4, 6),
    "float64": np.linspace(-3, 4, 24).reshape(4, 6),
    "float16": np.linspace(-3, 4, 24, dtype=np.float16).reshape(4, 6),
    "complex64": (np.linspace(-3, 4, 24) * (1 + 2j)).astype(np.complex64).reshape(4, 6),
    "backwards": np.linspace(-3, 4, 24)[::-1].reshape(4, 6)[:, ::-1],
    "big-endian": np.linspace(-3, 4, 24).astype(">f8").reshape(4, 6),
    "no axis": np.array(2.5),
    "empty": np.empty((0, 3), np.float32),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_in_are_arrays_out_with_the_bits_of_tensors(kind: str) -> None:
    previous, current = ARRAYS[kind], ARRAYS[kind] * 3
    native = [np.array(a, a.dtype.newbyteorder("="), order="C") for a in (previous, current)]

    change = kernels.step_change(previous, current)

    assert isinstance(change, np.ndarray)
    expected = kernels.step_change(*map(torch.from_numpy, native)).numpy()
    assert (change.dtype, change.shape) == (expected.dtype, expected.shape)
    assert change.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_have_the_same_bits_where_torch_is_not_installed(kind: str) -> None:
    previous, current = ARRAYS[kind], ARRAYS[kind] * 3
    dtype = np.float64 if previous.dtype.itemsize == 8 and previous.dtype.kind == "f" else "f4"
    found, expected = ([np.ones(previous.shape, dtype) for _ in range(2)] for _ in range(2))

    same = [arrays.step_change(previous, current), kernels.step_change(previous, current)]
    shares = [formulas.normalised(current, 0.7) for formulas in (arrays, kernels)]
    nothing = [formulas.normalised(current, 0.0) for formulas in (arrays, kernels)]
    for formulas, (total, compensation) in ((arrays, found), (kernels, expected)):
        assert formulas.accumulate_(total, previous, current) is total
        formulas.accumulate_compensated_(total, compensation, current, previous)
        formulas.accumulate_compensated_(total, compensation, previous / 7, current)

    for left, right in (same, shares, nothing, *zip(found, expected, strict=True)):
        assert (type(left), left.dtype, left.shape) == (np.ndarray, right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64])
def test_many_arrays_have_the_same_bits_where_torch_is_not_installed(dtype: type) -> None:
    chance = np.random.default_rng(5)
    shape = (2, 10_000)
    previous, current = (chance.standard_normal(shape) * 10.0 ** chance.integers(-4, 4, shape)
                         ).astype(dtype)  # fmt: skip

    moved = arrays.step_change(previous, current)

    assert moved.tobytes() == kernels.step_change(previous, current).tobytes()


def test_sums_over_arrays_that_are_no_sums_say_why_where_torch_is_not_installed() -> None:
    for total, said in (
        (read_only(np.zeros(2)), "the array is modified in place, but it is read-only"),
        ([0.0, 0.0], "expected a NumPy array, got list; convert it"),
    ):
        with pytest.raises(ArgumentTypeError, match=said):
            arrays.accumulate_(total, np.zeros(2), np.ones(2))  # type: ignore[arg-type]
    for array, said in (
        (np.zeros(2, np.int32), "weights of dtype int32 have no scale; dequantise"),
        (np.zeros(2, ml_dtypes.bfloat16), "NumPy has no arithmetic for dtype bfloat16; widen it"),
        (np.array(["a"]), "NumPy has no arithmetic for dtype <U1"),
    ):
        with pytest.raises(UnsupportedDtypeError, match=said):
            arrays.step_change(array, array)
    with pytest.raises(MismatchError, match=r"shapes differ: \(2,\) and \(3,\)"):
        arrays.step_change(np.zeros(2), np.zeros(3))


def test_arrays_that_are_read_only_stay_as_they_are() -> None:
    previous, current = np.zeros(3), np.array([1.0, -2.0, 0.0])
    for array in (previous, current):
        array.setflags(write=False)

    assert kernels.step_change(previous, current).tolist() == [1.0, 2.0, 0.0]
    assert kernels.normalised(current, 2.0).tolist() == [0.5, -1.0, 0.0]


def test_sums_over_arrays_are_made_in_place() -> None:
    home, away = np.array([1.0, -1.0], np.float32), np.array([3.0, -1.0], np.float32)
    total, rounded, lacking = np.zeros(2), np.zeros(2, np.float32), np.zeros(2, np.float32)

    assert kernels.accumulate_(total, home, away) is total
    kernels.accumulate_(total, away, home)
    assert kernels.accumulate_compensated_(rounded, lacking, home, away) is rounded

    assert total.tolist() == [4.0, 0.0]
    assert rounded.tolist() == [2.0, 0.0]


def read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (read_only(np.zeros(2)), "the array is modified in place, but it is read-only"),
        (np.zeros(2)[::-1], "torch cannot share its memory; pass a copy in C order"),
        ([0.0, 0.0], "expected a torch tensor or a NumPy array, got list"),
    ],
    ids=["read-only", "backwards", "list"],
)
def test_a_sum_that_cannot_be_written_to_is_an_error_of_ours(total: object, said: str) -> None:
    with pytest.raises(ArgumentTypeError, match=said):
        kernels.accumulate_(total, np.zeros(2), np.ones(2))  # type: ignore[type-var]


def test_what_is_no_array_is_an_error_of_ours_and_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"tensor or a NumPy array, got list; convert it") as caught:
        kernels.step_change([1.0], [2.0])  # type: ignore[type-var]

    assert isinstance(caught.value, AccweightError)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(2, np.int32), "weights of dtype torch.int32 have no scale; dequantise"),
        (np.zeros(2, ml_dtypes.bfloat16), "torch has no arrays of dtype bfloat16; widen it"),
        (np.array(["a"]), "torch has no arrays of dtype <U1"),
    ],
    ids=["integers", "bfloat16", "text"],
)
def test_arrays_without_a_meaning_as_weights_say_why(array: np.ndarray, said: str) -> None:
    with pytest.raises(UnsupportedDtypeError, match=said):
        kernels.step_change(array, array)


def test_shapes_that_differ_are_an_error_of_ours() -> None:
    with pytest.raises(MismatchError, match=r"shapes differ: \(2,\) and \(3,\)"):
        kernels.accumulate_(np.zeros(2), np.zeros(2), np.zeros(3))


# --- how a parameter is cut


@given(st.lists(st.integers(0, 60000), max_size=4))
def test_sub_blocks_are_powers_of_two_of_whole_indices_of_the_first_axis_that_fits(
    shape: list[int],
) -> None:
    cut = partition(tuple(shape))

    inner = max(math.prod(shape[cut.axis + 1 :]), 1)
    assert cut.sub_block == cut.indices * inner <= kernels.SUB_BLOCK < 2 * cut.sub_block
    assert cut.indices & (cut.indices - 1) == 0
    assert cut.segment == max(math.prod(shape[cut.axis :]), 1)
    assert cut.axis == 0 or math.prod(shape[cut.axis :]) > kernels.SUB_BLOCK


def test_long_rows_are_cut_within_and_short_ones_together() -> None:
    assert partition((8, 14336, 4096))[:2] == (14336 * 4096, 4 * 4096)
    assert partition((2, 8_000_000))[:2] == (8_000_000, 16384)
    assert partition((50, 700))[:2] == (35000, 16 * 700)


def test_sub_blocks_are_below_what_torch_splits_over_threads() -> None:
    grain = 32768  # at::internal::GRAIN_SIZE

    assert grain > kernels.SUB_BLOCK


def test_leading_axes_of_one_cut_nothing() -> None:
    assert partition((1, 1, 70000))[:2] == partition((70000,))[:2]


# --- the fused step


@versions
@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_every_partial_sum_is_that_of_its_formula(dtype: torch.dtype, measure_step: Step) -> None:
    states = oracle.series((3, 2500), dtype, steps=5)
    walk = oracle.walk_of(states)
    net = np.abs(walk.held - walk.reference)
    expected = {
        "path_sum": walk.path.sum(axis=2),
        "path_m2": walk.path.var(axis=2) * 2500,
        "path_max": walk.path.max(axis=2),
        "path_argmax": walk.path.argmax(axis=2),
        "step_sum": walk.moved.sum(axis=2),
        "step_square": (walk.moved**2).sum(axis=2),
        "step_max": walk.moved.max(axis=2),
        "net_sum": net.sum(axis=2),
        "net_square": (net**2).sum(axis=2),
        "square": (np.abs(walk.held) ** 2).sum(axis=2),
        "reference_square": (np.abs(walk.reference) ** 2).sum(axis=2),
        "nonfinite": np.zeros((5, 3)),
    }
    if not dtype.is_complex:
        expected["flips"] = (np.sign(walk.held) != np.sign(walk.reference)).sum(axis=2)

    sums, state = sums_of(states, measure_step)

    for name, value in expected.items():
        np.testing.assert_allclose(column(sums, name), value, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(state.total.numpy(), walk.path[-1], rtol=1e-6)


@versions
def test_complex_weights_have_no_sign_to_flip(measure_step: Step) -> None:
    sums, _ = sums_of(oracle.series((2, 9), torch.complex64), measure_step)

    assert np.isnan(column(sums, "flips")[1:]).all()


@versions
@pytest.mark.parametrize("dtype", WIDE, ids=str)
@settings(max_examples=up_to(15))
@given(
    rows=st.integers(1, 4),
    columns=st.integers(kernels.SUB_BLOCK // 2 + 1, kernels.SUB_BLOCK),
    threads=st.integers(1, 4),
)
def test_rows_measured_together_or_alone_give_the_same_bits(
    measure_step: Step, dtype: torch.dtype, rows: int, columns: int, threads: int
) -> None:
    states = oracle.series((rows, columns), dtype, steps=2)
    before = torch.get_num_threads()

    torch.set_num_threads(threads)
    together, _ = sums_of(states, measure_step)
    torch.set_num_threads(1)
    alone = [sums_of([s[row : row + 1] for s in states], measure_step)[0] for row in range(rows)]
    torch.set_num_threads(before)

    assert together.tobytes() == np.concatenate(alone, axis=1).tobytes()


@versions
def test_threads_of_torch_change_no_bit_of_full_blocks(
    measure_step: Step, torch_threads: Callable[[int], None]
) -> None:
    states = oracle.series((4, kernels.SUB_BLOCK), steps=3)

    results = []
    for threads in (1, 2, 3, 4):
        torch_threads(threads)
        results.append(sums_of(states, measure_step)[0].tobytes())

    assert len(set(results)) == 1


@versions
@pytest.mark.parametrize("value", [0.1, 1e-30, 123.456])
def test_the_spread_of_equal_moves_is_exactly_zero(value: float, measure_step: Step) -> None:
    states = [torch.full((2, 777), step * value) for step in range(4)]

    sums, _ = sums_of(states, measure_step)

    assert (column(sums, "path_m2") == 0).all()


@versions
def test_a_tiny_spread_on_a_long_path_is_not_lost(measure_step: Step) -> None:
    start = torch.zeros(1, 1000, dtype=torch.float64)
    moved = 1e6 + 1e-3 * torch.arange(1000, dtype=torch.float64)[None]
    moved[0, 0] = 1e6 + 0.5  # the pivot is no extreme

    sums, _ = sums_of([start, moved], measure_step)

    expected = np.var(moved.numpy() - 1e6) * 1000
    np.testing.assert_allclose(column(sums, "path_m2")[1], expected, rtol=1e-6)


def test_without_float64_a_tiny_spread_on_a_long_path_is_not_lost() -> None:
    tiny = 1e-4 * (1 + torch.arange(64)[None] / 64)
    states = [torch.zeros(1, 64), torch.full((1, 64), 500.0), *[torch.zeros(1, 64), tiny] * 3]
    path = oracle.walk_of(states).path[-1]

    sums, state = sums_of(states, kernels.measure_step, partial(start_block, compensated=True))

    assert sums.dtype == np.float32
    assert state.compensation is not None
    total = state.total.double() + state.compensation.double()
    np.testing.assert_allclose(total.numpy(), path, rtol=1e-12)
    np.testing.assert_allclose(column(sums, "path_m2")[-1], path.var() * 64, rtol=1e-4)
    np.testing.assert_allclose(column(sums, "path_sum")[-1], path.sum(), rtol=1e-6)


@versions
def test_the_first_of_equal_maxima_is_where_the_maximum_sits(measure_step: Step) -> None:
    moved = torch.zeros(2, 3000)
    moved[0, [5, 2000]] = 2.0
    moved[1, [1023, 1024, 2999]] = 1.0

    sums, _ = sums_of([torch.zeros(2, 3000), moved], measure_step)

    assert column(sums, "path_argmax").tolist() == [[0, 0], [5, 1023]]
    assert column(sums, "path_max").tolist() == [[0, 0], [2, 1]]


@versions
@pytest.mark.parametrize("copies", [1, 110], ids=["one by one", "sixteen at a time and the rest"])
def test_signs_flip_between_minus_zero_and_plus(measure_step: Step, copies: int) -> None:
    reference = torch.tensor([[1.0, -1.0, 0.0, 1.0, -1.0, 0.0, 0.0, -0.0, 1e-45, -1e-45]])
    current = torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, -1e-45, -2e-45]])

    sums, _ = sums_of([reference.repeat(1, copies), current.repeat(1, copies)], measure_step)

    assert column(sums, "flips").tolist() == [[0], [6 * copies]]


@versions
@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_what_is_not_finite_is_counted_and_left_out(dtype: torch.dtype, measure_step: Step) -> None:
    states = oracle.series((2, 40), dtype, steps=5)
    states[0][0, 3] = math.nan
    states[1][0, 3] = math.inf
    states[2][1, 7] = -math.inf
    states[4][1, 8] = math.nan
    for state in states:
        state[1, 11] = math.nan
    walk = oracle.walk_of(states)

    sums, state = sums_of(states, measure_step)

    assert column(sums, "nonfinite").tolist() == [[1, 1], [1, 1], [0, 2], [0, 1], [0, 2]]
    np.testing.assert_allclose(state.total.numpy(), walk.path[-1], rtol=1e-6)
    np.testing.assert_allclose(column(sums, "step_sum"), walk.moved.sum(axis=2), rtol=1e-6)
    square = (np.abs(walk.reference) ** 2).sum(axis=2)
    np.testing.assert_allclose(column(sums, "reference_square"), square, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("odd", [math.nan, math.inf, 3e38, 1e30], ids=str)
def test_an_odd_weight_changes_no_bit_of_other_rows(dtype: torch.dtype, odd: float) -> None:
    sound = oracle.series((3, 2500), dtype, steps=4)
    broken = [state.clone() for state in sound]
    broken[0][1, 7] = broken[2][1, 9] = odd
    in_one_pass = one_pass.measure_step, one_pass.start_block

    sums, state = sums_of(broken, *in_one_pass)

    expected, other = sums_of(sound, *in_one_pass)
    assert sums[:, [0, 2]].tobytes() == expected[:, [0, 2]].tobytes()
    assert torch.equal(state.total[[0, 2]], other.total[[0, 2]])
    alone, _ = sums_of([state[1:2] for state in broken], *in_one_pass)
    assert sums[:, 1:2].tobytes() == alone.tobytes()


def test_weights_of_opposite_ends_of_float32_are_subtracted_in_double() -> None:
    states = [torch.full((1, 9), value) for value in (3e38, -3e38, 3e37, -3.4e38)]
    sums, state = sums_of(states, one_pass.measure_step)

    assert np.isfinite(sums).all()
    expected = oracle.walk_of(states).path[-1]
    np.testing.assert_allclose(state.total.numpy(), expected, rtol=1e-12)


@versions
def test_scratch_of_a_larger_block_serves_a_smaller_one(measure_step: Step) -> None:
    large, small = oracle.series((4, 900), steps=2), oracle.series((1, 333), steps=2, seed=1)
    expected, _ = sums_of(small, measure_step)
    scratch = Scratch()

    for states in (large, small):
        state, _ = start_block(states[0].clone())
        sums = measure_step(state, states[1].clone(), scratch)

    assert sums.numpy().tobytes() == expected[1].tobytes()


@versions
@settings(max_examples=up_to(50))
@given(data=st.data())
def test_cumulative_change_never_falls_and_is_never_less_than_the_way_home(
    measure_step: Step, data: st.DataObject
) -> None:
    finite = st.floats(-1e6, 1e6, width=32)
    columns = data.draw(st.integers(1, 8))
    walk = data.draw(st.lists(st.lists(finite, min_size=columns, max_size=columns), min_size=2))
    states = [torch.tensor([weights], dtype=torch.float32) for weights in walk]
    state, _ = start_block(states[0].clone())
    scratch = Scratch()

    for weights in states[1:]:
        before, current = state.total.clone(), weights.clone()
        measure_step(state, current, scratch)
        state.previous = current

        assert (state.total >= before).all()
        net = (weights.double() - states[0].double()).abs()
        assert (state.total >= net * (1 - 1e-6)).all()


def test_kernels_need_numpy_and_torch_alone() -> None:
    import subprocess
    import sys

    program = (
        "import sys, accweight_core.kernels; "
        "print([m for m in ('zarr','pandas','scipy','numba','onnx','rich') if m in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert shown.stdout.strip() == "[]"
