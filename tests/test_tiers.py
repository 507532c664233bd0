"""Tiers: the bits of the compiled loops from NumPy alone, and when which of both is used."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path as FilePath

import numpy as np
import numpy.typing as npt
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from thorough import up_to

import accweight_core as aw
from accweight_core.jit import array_pooling, array_step, fused, order, pooling, step_loops, tiers
from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jobs import pipeline
from accweight_core.metrics.sums import SUMS
from accweight_core.schema import Axis, Hints, Kind, Role, Run

Array = npt.NDArray[np.float64]

SHAPES = [(1, 1, 1), (3, 15, 2), (2, 16, 3), (5, 33, 4), (1, 16384, 3), (4, 1000, 17), (300, 24, 5)]
"""Rows, columns and steps."""


def _odd(chance: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = chance.standard_normal(shape)
    values[chance.random(shape) < 0.01] = chance.choice([np.nan, np.inf, -3e38, 1e35])
    return values


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "any": lambda chance, shape: chance.standard_normal(shape),
    "coarse": lambda chance, shape: np.round(chance.standard_normal(shape) * 64) / 64,
    "subnormal": lambda chance, shape: chance.standard_normal(shape) * 1e-42,
    "large": lambda chance, shape: chance.standard_normal(shape) * 1e24,
    "ties": lambda chance, shape: (
        chance.integers(-4, 5, shape) * 2.0 ** chance.integers(-40, 20, shape)
    ),
    "equal": lambda chance, shape: np.full(shape, chance.standard_normal()),
    "of all sizes": lambda chance, shape: (
        chance.standard_normal(shape) * 2.0 ** chance.integers(-60, 60, shape)
    ),
    "zeros": lambda chance, shape: chance.standard_normal(shape) * (chance.random(shape) < 0.3),
    "odd": _odd,
}


class Walked:
    """Rows taken through steps by one make of the loops."""

    def __init__(self, loops: object, weights: Array, total: Array | None) -> None:
        """Walk; the first step is the reference, and the one before the second."""
        steps, rows, columns = weights.shape
        apart, flat = rows * columns, weights.reshape(-1)
        self.square = np.empty(rows)
        loops.square_rows(weights[0], self.square)  # type: ignore[attr-defined]
        self.todo, self.total = np.ones(rows, np.bool_), np.empty((rows, columns))
        self.sums = np.empty((rows, steps - 1, len(SUMS)))
        self.planes = np.empty((steps - 1, rows, columns), np.float32)
        before = np.zeros(apart) if total is None else total.reshape(-1)
        self.left = loops.advance_rows(  # type: ignore[attr-defined]
            Steps(flat[:apart], self.square, flat, flat[apart:], apart),
            Path(before, self.total.reshape(-1), total is not None),
            Planes(self.planes.reshape(-1), apart),
            self.sums,
            self.todo,
        )

    def found(self) -> list[bytes]:
        """Return all that was found of rows that could be done."""
        done = ~self.todo
        parts = self.sums[done], self.total[done], self.planes[:, done], self.square[done]
        return [part.tobytes() for part in (self.todo, *parts)]


@pytest.fixture
def compiled_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small work goes through compiled loops as well."""
    monkeypatch.setattr(tiers, "FREE_WORK", -1)


# --- the same bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_get_the_bits_of_the_compiled_loops(kind: str, dtype: type) -> None:
    chance = np.random.default_rng(0)
    for rows, columns, steps in SHAPES:
        with np.errstate(over="ignore"):
            weights = KINDS[kind](chance, (steps + 1, rows, columns)).astype(dtype)
        weights[0] = np.where(np.isfinite(weights[0]), weights[0], 1)  # mended before, always
        path = np.abs(chance.standard_normal((rows, columns)))
        for total in (None, path):
            compiled, plain = (Walked(m, weights, total) for m in (step_loops, array_step))

            assert plain.left == compiled.left
            assert plain.found() == compiled.found()


def test_the_smallest_float64_are_left_to_the_compiled_loops() -> None:
    weights = np.random.default_rng(0).standard_normal((3, 2, 40)) * 1e-170
    compiled = Walked(step_loops, weights, None)
    square, todo, total = np.empty(2), np.ones(2, np.bool_), np.zeros(80)

    assert Walked(array_step, weights, None).left is None
    tiers.square_rows(weights[0], square)
    sums, flat = np.empty((2, 2, len(SUMS))), weights.reshape(-1)
    steps, path = Steps(flat[:80], square, flat, flat[80:], 80), Path(total, total, True)
    tiers.advance_rows(steps, path, Planes.nothing(), sums, todo)

    assert sums.tobytes() == compiled.sums.tobytes()
    assert total.tobytes() == compiled.total.tobytes()


def test_rows_that_are_not_asked_for_keep_their_path() -> None:
    weights = np.random.default_rng(0).standard_normal((2, 3, 40)).astype(np.float32)
    total, todo = np.ones((3, 40)), np.array([True, False, True])
    sums, square, flat = np.empty((3, 1, len(SUMS))), np.ones(3), weights.reshape(-1)

    steps = Steps(flat[:120], square, flat, flat[120:], 120)
    path = Path(total.reshape(-1), total.reshape(-1), True)
    tiers.advance_rows(steps, path, Planes.nothing(), sums, todo)

    assert (total[1] == 1).all()
    assert_array_equal(total[[0, 2]], 1 + np.abs(weights[1] - weights[0])[[0, 2]].astype(float))


doubles = st.floats(-(2.0**60), 2.0**60).filter(lambda x: x == 0 or abs(x) > 2.0**-200)
simple = st.builds(lambda m, e: m * 2.0**e, st.integers(-8, 8), st.integers(-60, 60))
near_one = st.integers(-3, 3).map(lambda n: 1 + n * 2.0**-30)


@settings(max_examples=up_to(500))
@given(st.lists(doubles | simple | near_one, min_size=1, max_size=12))
def test_a_sum_and_the_square_added_to_it_are_rounded_once(values: list[float]) -> None:
    sums, exact = np.zeros((1, 1, 16)), 0.0
    lanes = np.repeat(np.array(values), 16).reshape(1, 1, -1, 16)

    array_step.add_fused(sums, *array_step.squares(lanes))

    for value in values:
        exact = float(Fraction(exact) + Fraction(value) ** 2)  # rounded to even, as it should be
    assert sums.tolist() == [[[exact] * 16]]


def test_what_is_left_of_a_sum_is_not_rounded_to_lie_between_two_numbers() -> None:
    value = 1 + 2.0**-52  # its square is 1 + 2^-51 + 2^-104
    for start in (4.0, 4 + 2.0**-49, 4 + 2.0**-50, 6.0):
        sums = np.full((1, 1, 16), start)

        array_step.add_fused(sums, *array_step.squares(np.full((1, 1, 1, 16), value)))

        assert sums[0, 0, 0] == float(Fraction(start) + Fraction(value) ** 2)


def test_machines_that_round_twice_are_told_from_those_that_round_once() -> None:
    assert step_loops.rounds_once() or not order.fuses()


@pytest.mark.parametrize("side", [1, 2, 8, 64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (64, 64), (131, 257)])
def test_squares_are_pooled_to_the_bits_of_the_compiled_loop(
    shape: tuple[int, int], side: int
) -> None:
    sheet = np.random.default_rng(0).random(shape, np.float32) * 1e3
    size = -(-shape[0] // side), -(-shape[1] // side)
    found = [[np.empty(size, np.float32) for _ in range(2)] for _ in range(2)]

    for loops, pictures in zip((pooling, array_pooling), found, strict=True):
        loops.pool(sheet, side, *pictures)

    assert found[0][0].tobytes() == found[1][0].tobytes()
    assert found[0][1].tobytes() == found[1][1].tobytes()


def _gaps(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    counts = chance.integers(0, 5, shape).astype(np.float32)
    counts[-1] = 0
    return counts


def _edges(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    counts = np.full(shape, 16, np.float32)
    counts[-1] = 4
    counts[:, -2:] = 12
    return counts


def _kernels(chance: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    counts = np.full(shape, 9, np.float32)
    counts[-1:] = 3
    return counts


@pytest.mark.parametrize("counted", [_gaps, _edges, _kernels])
@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (64, 33), (131, 258)])
def test_pictures_are_halved_to_the_bits_of_the_compiled_loop(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], counted: Callable[..., np.ndarray]
) -> None:
    chance = np.random.default_rng(0)
    counts = counted(chance, shape)
    mean = np.where(counts > 0, chance.random((3, *shape), np.float32), np.float32(np.nan))
    halved = array_pooling.halved_counts(counts)
    wanted = [np.empty((3, *halved.shape), np.float32) for _ in range(2)]
    planes = np.empty((3, 2, *halved.shape), np.float32)  # steps are not next to each other

    array_pooling.halve(mean, mean * 2, counts, *wanted, halved)
    monkeypatch.setattr(tiers, "FREE_WORK", -1)
    number = tiers.halve(mean, mean * 2, counts, planes[:, 0], planes[:, 1])

    assert_array_equal(planes[:, 0], wanted[0])
    assert_array_equal(planes[:, 1], wanted[1])
    assert_array_equal(number, halved)


def _checkpoints(dtype: torch.dtype) -> list[dict[str, torch.Tensor]]:
    shapes = {"conv.weight": (8, 3, 5, 5), "fc.weight": (70, 300), "long.weight": (2, 20000)}
    shapes |= {f"small{n}.bias": (n,) for n in range(1, 12)}
    walks = {name: oracle.series(shape, dtype, steps=5) for name, shape in shapes.items()}
    return [{name: states[t] for name, states in walks.items()} for t in range(5)]


def _files(folder: FilePath) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("odd", [None, torch.nan, 1e30])
@pytest.mark.parametrize("dtype", [*oracle.DTYPES, torch.complex128], ids=str)
def test_both_ways_write_the_same_files(
    stored: Callable[..., Run],
    tmp_path: FilePath,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    odd: float | None,
) -> None:
    states = _checkpoints(dtype)
    if odd is not None:
        states[0]["fc.weight"][1, 2] = states[3]["conv.weight"][0, 0, 0, 0] = odd
    run, options = stored(states), {"keep_state": True, "picture_budget_bytes": 200_000}

    aw.analyze(run, tmp_path / "plain.accw", **options)
    monkeypatch.setattr(tiers, "FREE_WORK", -1)
    aw.analyze(run, tmp_path / "compiled.accw", **options)

    assert _files(tmp_path / "plain.accw") == _files(tmp_path / "compiled.accw")


KERNELS = (Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.KERNEL)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("axes", "shapes"),
    [
        (KERNELS, [(64, 40, 3, 3), (37, 53, 3, 3), (3, 1900, 3, 3), (30, 20, 5, 5)]),
        (KERNELS[:2], [(3001, 20), (7, 1203)]),
    ],
)
def test_kernels_and_folds_pooled_while_they_stream_have_the_bits_of_their_sheets(
    stored: Callable[..., Run],
    tmp_path: FilePath,
    monkeypatch: pytest.MonkeyPatch,
    axes: tuple[Axis, ...],
    shapes: list[tuple[int, ...]],
    level: int,
) -> None:
    walks = {f"{shape}.weight": oracle.series(shape, torch.float32, steps=4) for shape in shapes}
    states = [{name: found[t] for name, found in walks.items()} for t in range(4)]
    run = stored(states, "plain", Hints(kind=Kind.OTHER, role=Role.WEIGHT, axes=axes))
    monkeypatch.setattr(pipeline, "picture_bases", lambda header, budget: (level,) * len(shapes))

    monkeypatch.setattr(tiers, "fuses", lambda: True)
    aw.analyze(run, tmp_path / "plain.accw")
    monkeypatch.setattr(tiers, "FREE_WORK", -1)
    aw.analyze(run, tmp_path / "compiled.accw")
    aw.analyze(run, tmp_path / "cut.accw", block_elements=3000)

    assert _files(tmp_path / "plain.accw") == _files(tmp_path / "compiled.accw")
    assert _files(tmp_path / "plain.accw") == _files(tmp_path / "cut.accw")


def test_exact_values_are_the_same_both_ways(
    stored: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = aw.analyze(stored(_checkpoints(torch.float32)))
    place = (3, 1, 4, 2)
    plain = analysis.cumulative("fc.weight"), analysis.trace("conv.weight", place)

    monkeypatch.setattr(tiers, "FREE_WORK", -1)
    compiled = analysis.cumulative("fc.weight"), analysis.trace("conv.weight", place)

    assert_array_equal(plain[0], compiled[0])
    assert_array_equal(plain[1].cumulative, compiled[1].cumulative)
    assert_array_equal(plain[1].weights, compiled[1].weights)


# --- which of both


def test_much_work_is_compiled_and_little_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "fuses", lambda: True)
    monkeypatch.setattr(tiers, "fuses", lambda: True)

    assert not tiers.are_compiled(tiers.FREE_WORK // 2)
    assert not tiers.are_compiled(tiers.FREE_WORK // 2)
    assert tiers.are_compiled(1)
    assert tiers.are_compiled()


def test_work_that_is_known_to_come_counts_before_it_is_done() -> None:
    tiers.expect(tiers.FREE_WORK)
    assert not tiers.are_compiled()

    tiers.expect(tiers.FREE_WORK + 1)
    assert tiers.are_compiled()


def test_many_steps_are_no_reason_to_compile_what_draws_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiers, "fuses", lambda: True)
    sheet, drawn = np.ones((64, 64), np.float32), [np.empty((32, 32), np.float32) for _ in "st"]
    used: list[str] = []
    for name, loops in (("NumPy", array_pooling), ("compiled", pooling)):
        monkeypatch.setattr(loops, "pool", lambda *_, name=name: used.append(name))

    tiers.expect(2 * tiers.FREE_WORK)
    tiers.pool(sheet, 2, *drawn)
    tiers.are_compiled(tiers.FREE_WORK, "pool")
    tiers.pool(sheet, 2, *drawn)

    assert tiers.are_compiled()
    assert used == ["NumPy", "compiled"]


def test_machines_that_round_twice_compile_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "fuses", lambda: False)

    assert tiers.are_compiled()


@pytest.mark.parametrize("name", ["NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT"])
def test_who_compiles_for_another_processor_is_not_second_guessed(name: str) -> None:
    program = "from accweight_core.jit.order import fuses; print(fuses())"

    printed = subprocess.run(
        [sys.executable, "-c", program], env={name: "generic"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert printed.stdout.strip() == "False"


def test_rows_done_before_the_loops_gave_up_keep_their_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = np.random.default_rng(1)
    before = chance.normal(size=(200, 4096))
    after = before + chance.normal(size=before.shape)
    before[150:] = after[150:] = 0
    after[180, 5] = 1e-200  # too near to 0 for the loops in NumPy, in a later group of rows
    found = []
    for work in (0, 2 * tiers.FREE_WORK):  # by NumPy first, then compiled
        monkeypatch.setattr(tiers, "_done", Counter(steps=work))
        state, _ = fused.start_block(before.copy())
        sums = fused.measure_step(state, after.copy())
        found.append((state.total.tobytes(), sums.tobytes()))

    assert found[0] == found[1]
