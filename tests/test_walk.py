"""The block walk: right for every form of bytes, the same bits however it is cut."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to

import accweight_core as aw
from accweight_core.accumulate.block import walk_block
from accweight_core.accumulate.cutting import Block, blocks_of, pieces_of
from accweight_core.accumulate.stepwise import Carry
from accweight_core.accumulate.walk import BlockWalk, ParameterWalk
from accweight_core.errors import FormatError, NonFiniteError, UnsupportedDtypeError
from accweight_core.io import descriptors, strided
from accweight_core.io.reading import OpenFiles, read_stretch, same_values
from accweight_core.io.widening import working_dtype
from accweight_core.jit import tiers
from accweight_core.kernels import partition
from accweight_core.metrics.table import METRICS
from accweight_core.metrics.totals import Totals
from accweight_core.pictures.tiling import BLOCK_ELEMENTS
from accweight_core.schema import HiddenValues, Run, StoredTensor

Stored = Callable[..., Run]
NAME = "layer.weight"


def states_run(stored: Stored, states: Sequence[torch.Tensor], form: str = "plain") -> Run:
    return stored([{NAME: state} for state in states], form)


@dataclass
class Result:
    """What a walk over one parameter gave."""

    totals: Totals
    paths: np.ndarray
    progress: list[int]


def walked(
    run: Run, block_elements: int = BLOCK_ELEMENTS, threads: int = 1, name: str = NAME
) -> Result:
    """Walk one parameter with that cut; A_t of all steps and the totals."""
    parameter = next(p for p in run.parameters if p.name == name)
    tensors = [c.tensors[name] for c in run.checkpoints]
    hidden = any(isinstance(tensor.values, HiddenValues) for tensor in tensors)
    size = max(parameter.elements, 1) if hidden else block_elements
    blocks = list(blocks_of(parameter.shape, size))
    paths = np.full((len(tensors), parameter.elements), np.nan)

    def watch(block: Block, step: int, plane: np.ndarray) -> None:
        paths[step, block.start : block.stop] = plane

    def keep(block: Block, carry: Carry) -> None:
        seen, total = paths[-1, block.start : block.stop], carry[2]
        with np.errstate(over="ignore"):
            assert seen.tobytes() == total.astype(np.float32).astype(np.float64).tobytes()
        seen[:] = total

    found: list[Totals] = []
    progress: list[int] = []
    walk = BlockWalk(run.checkpoints, threads=threads, progress=progress.append)
    watcher = partial(partial, watch)
    whole = ParameterWalk(name, tensors, blocks, watch=watcher, keep=keep, done=found.append)
    walk.run([whole])
    return Result(found[0], paths.reshape(len(tensors), *parameter.shape), progress)


def close(found: np.ndarray, expected: np.ndarray, dtype: torch.dtype) -> None:
    """Compare to 1e-6 of the values, or of 1 where they are smaller; float64 to 1e-12."""
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= tolerance * np.maximum(1, np.abs(expected))).all()


# --- against the oracle


@pytest.mark.parametrize("form", oracle.FORMS)
@pytest.mark.parametrize("dtype", oracle.DTYPES, ids=str)
def test_cumulative_change_is_that_of_the_oracle(
    stored: Stored, dtype: torch.dtype, form: str
) -> None:
    shapes = [shape for shape in oracle.SHAPES if form in ("plain", "big-endian") or shape != (0,)]
    walks = {f"p{i}.weight": oracle.series(shape, dtype) for i, shape in enumerate(shapes)}
    run = stored([{n: states[t] for n, states in walks.items()} for t in range(4)], form)

    analysis = aw.analyze(run, threads=2)

    for name, states in walks.items():
        path = oracle.walk_of(states).path
        for step in (0, 10, 30):
            close(analysis.cumulative(name, step), path[step // 10], dtype)


@pytest.mark.parametrize("form", oracle.FORMS)
@pytest.mark.parametrize("dtype", [*oracle.DTYPES, torch.complex128], ids=str)
def test_every_stretch_is_read_bit_for_bit(stored: Stored, dtype: torch.dtype, form: str) -> None:
    weights = oracle.series((7, 5, 3), dtype, steps=1)[0]
    tensor = states_run(stored, [weights], form).checkpoints[0].tensors[NAME]

    with OpenFiles() as files:
        for start, stop in ((0, 105), (1, 2), (17, 99), (104, 105), (50, 50)):
            out = np.empty(stop - start, working_dtype(tensor))
            read_stretch(files, tensor, start, stop, out)

            found = torch.from_numpy(out)
            assert torch.equal(found, weights.reshape(-1).to(found.dtype)[start:stop])


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
)
def test_every_code_of_8_bit_floats_is_read_as_torch_reads_it(stored: Stored, name: str) -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(getattr(torch, name))
    tensor = states_run(stored, [codes]).checkpoints[0].tensors[NAME]
    out = np.empty(256, np.float32)

    with OpenFiles() as files:
        read_stretch(files, tensor, 0, 256, out)

    np.testing.assert_array_equal(out, codes.float())
    known = ~np.isnan(out)
    np.testing.assert_array_equal(np.signbit(out)[known], codes.float().signbit()[known])


@pytest.mark.parametrize("free_work", [-1, 10**9], ids=["compiled", "numpy"])
def test_every_float16_is_read_as_torch_reads_it(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, free_work: int
) -> None:
    monkeypatch.setattr(tiers, "FREE_WORK", free_work)
    codes = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    tensor = states_run(stored, [codes]).checkpoints[0].tensors[NAME]

    with OpenFiles() as files:
        for stop in (1 << 16, (1 << 16) - 5):  # fewer than sixteen are read one by one
            out = np.empty(stop - 3, np.float32)
            read_stretch(files, tensor, 3, stop, out)

            expected = codes[3:stop].float().numpy()
            known = ~np.isnan(expected)
            np.testing.assert_array_equal(np.isnan(out), ~known)
            assert out[known].tobytes() == expected[known].tobytes()


@settings(max_examples=up_to(60))
@given(
    shape=st.lists(st.integers(1, 9), max_size=4),
    form=st.sampled_from(["transposed", "strided"]),
    span=st.sampled_from([1, 64, 1000, 1 << 20]),
    gaps=st.sampled_from([1, 2, 64]),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_any_stretch_of_axes_in_any_order_is_read_in_parts(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    form: str,
    span: int,
    gaps: int,
    ends: tuple[float, float],
) -> None:
    weights = oracle.series(tuple(shape), steps=1)[0]
    run = oracle.raw_run(tmp_path_factory.mktemp("strided"), [{NAME: weights}], form)
    start, stop = sorted(round(end * weights.numel()) for end in ends)
    out = np.empty(stop - start, np.float32)

    with pytest.MonkeyPatch.context() as patch, OpenFiles() as files:
        patch.setattr(strided, "SPAN_BYTES", span)
        patch.setattr(strided, "MOST_GAPS", gaps)
        read_stretch(files, run.checkpoints[0].tensors[NAME], start, stop, out)

    np.testing.assert_array_equal(out, weights.reshape(-1)[start:stop])


def test_a_stretch_of_a_transposed_tensor_is_read_without_the_rest(stored: Stored) -> None:
    weights = oracle.series((2000, 3000), steps=1)[0]
    tensor = states_run(stored, [weights], "transposed").checkpoints[0].tensors[NAME]

    with OpenFiles() as files:
        out = np.empty(200 * 3000, np.float32)
        read_stretch(files, tensor, 100 * 3000, 300 * 3000, out)
        largest = files.raw(0).base

    np.testing.assert_array_equal(out, weights[100:300].reshape(-1))
    assert largest is not None
    assert largest.nbytes <= strided.SPAN_BYTES


@pytest.mark.parametrize("dtype", oracle.DTYPES, ids=str)
def test_every_metric_is_that_of_the_oracle_per_parameter_and_per_layer(
    stored: Stored, dtype: torch.dtype
) -> None:
    walks = {
        "a.weight": oracle.series((17, 33), dtype, steps=5),
        "a.weight_2": oracle.series((5, 9000), dtype, steps=5),
        "b.weight": oracle.series((40001,), dtype, steps=5),
        "b.weight_2": oracle.series((), dtype, steps=5),
        "c.weight": oracle.series((64, 3, 5, 5), dtype, steps=5),
    }
    run = stored([{n: states[t] for n, states in walks.items()} for t in range(5)])
    groups = [(name, [name]) for name in walks]
    groups += [(layer, [n for n in walks if n.startswith(layer)]) for layer in "abc"]

    analysis = aw.analyze(run, threads=2)

    rows = {row.name: row for per in ("parameter", "layer") for row in analysis.measured(per)}
    assert set(rows) == {name for name, _ in groups}
    for name, members in groups:
        expected = oracle.metrics(*(walks[member] for member in members))
        for metric in METRICS:
            np.testing.assert_allclose(
                rows[name].metrics[metric],
                expected[metric],
                rtol=1e-11 if dtype == torch.float64 else 2e-6,
                atol=1e-15,
                err_msg=f"{metric} of {name}",
            )


def test_a_half_precision_start_and_a_single_precision_end_meet_in_single(stored: Stored) -> None:
    states = oracle.series((40, 50))
    mixed = [states[0].to(torch.bfloat16), states[1].to(torch.float16), *states[2:]]
    run = states_run(stored, mixed)

    analysis = aw.analyze(run)

    close(analysis.cumulative(NAME), oracle.cumulative(mixed), torch.float32)


def test_a_difference_that_no_float_can_hold_does_not_poison_the_layer(stored: Stored) -> None:
    run = states_run(stored, [torch.tensor([v, w]) for v, w in ((3e38, 1.0), (-3e38, 3.0))])

    analysis = aw.analyze(run)

    assert analysis.cumulative(NAME)[1] == 2
    for metric, series in analysis.measured()[0].metrics.items():
        assert not np.isinf(series).any(), metric


# --- the same bits


SMALLEST, ODD = 16384, 54321


@pytest.mark.parametrize("shape", [s for s in oracle.SHAPES if s != (0,)] + [(130, 700)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_blocks_and_threads_change_no_bit(
    stored: Stored, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    run = states_run(stored, oracle.series(shape, dtype))
    expected = walked(run)

    for block_elements in (SMALLEST, ODD, 1 << 20, 1):
        for threads in (1, 2, 4) if block_elements == SMALLEST else (3,):
            found = walked(run, block_elements, threads)

            assert found.totals.values.tobytes() == expected.totals.values.tobytes()
            assert found.paths.tobytes() == expected.paths.tobytes()
            assert found.totals.elements == math.prod(shape)


@pytest.mark.parametrize("form", [form for form in oracle.FORMS if form != "plain"])
def test_forms_of_storage_change_no_bit(stored: Stored, form: str) -> None:
    states = oracle.series((130, 700), torch.float16)

    plain, other = (walked(states_run(stored, states, f), SMALLEST) for f in ("plain", form))

    assert other.totals.values.tobytes() == plain.totals.values.tobytes()
    assert other.paths.tobytes() == plain.paths.tobytes()


def test_weights_too_large_for_their_difference_change_no_bit_of_their_neighbours(
    stored: Stored,
) -> None:
    states = oracle.series((64, 700))
    for state, huge in zip(states, (3e38, -3e38, 3e38, -3e38), strict=True):
        state[20, 3] = huge
    states[2][20, 4] = math.nan
    run = states_run(stored, states)
    expected = walked(run)

    for block_elements in (1, ODD):
        found = walked(run, block_elements, 2)

        assert found.totals.values.tobytes() == expected.totals.values.tobytes()
        assert found.paths.tobytes() == expected.paths.tobytes()
    assert expected.totals.column("nonfinite").tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_small_parameters_walked_together_have_the_bits_of_each_alone(
    stored: Stored, dtype: torch.dtype
) -> None:
    walks = {
        f"p{i}.weight": oracle.series(shape, dtype, seed=i)
        for i, shape in enumerate([(8, 8), (64,), (64,), (64,), (3,), (0,), (64,), (30, 700)])
    }
    walks["p2.weight"][1][5] = math.nan
    run = stored([{n: s[t] for n, s in walks.items()} for t in range(4)])

    analysis = aw.analyze(run, threads=2)

    for number, name in enumerate(walks):
        alone = walked(run, name=name).totals
        assert analysis.values[:, number].tobytes() == alone.values.tobytes()


@settings(max_examples=up_to(25))
@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 3000),
    block_elements=st.integers(1, 100_000),
    threads=st.integers(1, 4),
    dtype=st.sampled_from(oracle.DTYPES),
)
def test_any_cut_of_a_matrix_gives_the_bits_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    columns: int,
    block_elements: int,
    threads: int,
    dtype: torch.dtype,
) -> None:
    states = oracle.series((rows, columns), dtype, steps=2)
    folder = tmp_path_factory.mktemp("cut")
    run = oracle.raw_run(folder, [{NAME: state} for state in states])

    whole, cut = walked(run, rows * columns), walked(run, block_elements, threads)

    assert cut.totals.values.tobytes() == whole.totals.values.tobytes()
    assert cut.paths.tobytes() == whole.paths.tobytes()


@pytest.mark.parametrize("threads", [1, 4])
def test_files_and_memory_give_the_same_bits(stored: Stored, threads: int) -> None:
    checkpoints = [
        {"a.weight": a, "b.weight": b}
        for a, b in zip(oracle.series((130, 700)), oracle.series((5, 20000)), strict=True)
    ]

    files = aw.analyze(stored(checkpoints), threads=threads, block_elements=SMALLEST)
    memory = aw.analyze(aw.open_run(checkpoints), threads=threads)

    assert files.values.tobytes() == memory.values.tobytes()


def test_cumulative_change_never_falls(stored: Stored) -> None:
    run = states_run(stored, oracle.series((300, 100), torch.float16, steps=6))

    paths = walked(run).paths

    assert (paths[0] == 0).all()
    assert (np.diff(paths, axis=0) >= 0).all()


# --- cuts


SHAPES = st.lists(st.integers(1, 400), max_size=4) | st.lists(
    st.sampled_from([1, 2, 3, 40, 5000, 16384, 20011, 60000]), min_size=1, max_size=2
)


@given(shape=SHAPES, block_elements=st.integers(1, 1 << 20))
def test_blocks_cover_a_parameter_once_and_end_where_sub_blocks_do(
    shape: list[int], block_elements: int
) -> None:
    elements, cut = math.prod(shape), partition(tuple(shape))
    if elements > 1 << 24:
        return

    blocks = list(blocks_of(tuple(shape), block_elements))

    assert [b.start for b in blocks] == [0, *(b.stop for b in blocks[:-1])]
    assert blocks[-1].stop == elements
    for block in blocks:
        assert block.start % cut.segment % cut.sub_block == 0
        assert block.stop - block.start <= max(block_elements, cut.sub_block)


@given(shape=SHAPES, block_elements=st.sampled_from([16384, 50001, 1 << 18]))
def test_pieces_are_whole_sub_blocks_but_for_the_last_of_a_segment(
    shape: list[int], block_elements: int
) -> None:
    cut = partition(tuple(shape))
    if math.prod(shape) > 1 << 24:
        return
    blocks = blocks_of(tuple(shape), block_elements)

    pieces = [piece for block in blocks for piece in pieces_of(cut, block.start, block.stop)]

    position = 0
    for first, rows, columns in pieces:
        assert first == position
        position += rows * columns
        assert columns == cut.sub_block or (rows == 1 and position % cut.segment == 0)
        assert (first % cut.segment) % cut.sub_block == 0
    assert position == math.prod(shape)


def test_a_parameter_without_elements_has_no_blocks() -> None:
    assert list(blocks_of((3, 0), 10)) == []


# --- what is not finite


def broken_walk() -> list[torch.Tensor]:
    """NaN or infinity at the reference, in the middle, at the end, and always."""
    states = oracle.series((300, 100), steps=5)
    states[0][0, 0] = math.nan
    states[0][7, 3] = states[1][7, 3] = math.inf
    states[2][1, 1] = math.nan
    states[2][299, 99] = states[3][299, 99] = -math.inf
    states[4][2, 2] = math.inf
    for state in states:
        state[150, 50] = math.nan
    return states


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_what_is_not_finite_is_counted_per_step_and_left_out(
    stored: Stored, dtype: torch.dtype
) -> None:
    states = [state.to(dtype) for state in broken_walk()]
    run = states_run(stored, states)

    analysis = aw.analyze(run, threads=2)

    row, expected = analysis.measured()[0], oracle.metrics(states)
    assert row.metrics["nonfinite"].tolist() == [3, 2, 3, 2, 2]
    for metric in METRICS:
        assert np.isfinite(row.metrics[metric][1:]).all()
        np.testing.assert_allclose(row.metrics[metric], expected[metric], rtol=2e-6, err_msg=metric)
    for step in (0, 20, 40):
        close(analysis.cumulative(NAME, step), oracle.walk_of(states).path[step // 10], dtype)


def test_finite_neighbours_of_what_is_not_finite_keep_their_bits(stored: Stored) -> None:
    broken = broken_walk()
    sound = oracle.series((300, 100), steps=5)
    touched = ~torch.stack([torch.isfinite(state) for state in broken]).all(0).numpy()

    paths, expected = (walked(states_run(stored, states)).paths for states in (broken, sound))

    assert paths[:, ~touched].tobytes() == expected[:, ~touched].tobytes()


def test_an_element_that_is_never_finite_has_not_moved(stored: Stored) -> None:
    run = states_run(stored, broken_walk())

    paths = walked(run).paths

    assert (paths[:, 150, 50] == 0).all()


def test_complex_weights_are_not_finite_if_one_part_is_not(stored: Stored) -> None:
    states = oracle.series((4, 4), torch.complex64)
    states[1][0, 0] = complex(1, math.nan)
    states[2][1, 1] = complex(math.inf, 0)
    run = states_run(stored, states)

    row = aw.analyze(run).measured()[0]

    assert row.metrics["nonfinite"].tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(row.metrics["mean"], oracle.metrics(states)["mean"], rtol=1e-6)


def test_lost_elements_are_among_the_warnings(stored: Stored) -> None:
    run = states_run(stored, broken_walk())

    warnings = aw.analyze(run).header.warnings

    assert any(
        f"'{NAME}' holds up to 3 of 30000 elements that are not finite, in 5 checkpoints from "
        "step 0" in warning
        for warning in warnings
    )


def test_strict_names_the_tensor_the_step_and_the_file(stored: Stored) -> None:
    states = oracle.series((30, 10))
    states[2][3, 4] = math.nan
    run = stored([{"sound.weight": torch.ones(3, 3), NAME: s} for s in states])

    with pytest.raises(NonFiniteError) as caught:
        aw.analyze(run, strict=True)

    assert f"parameter '{NAME}' has 1 non-finite elements at step 20 (" in str(caught.value)
    assert "plain_2.raw" in str(caught.value)


def test_strict_passes_finite_runs(stored: Stored) -> None:
    run = states_run(stored, oracle.series((30, 10)))

    assert aw.analyze(run, strict=True).values.tobytes() == aw.analyze(run).values.tobytes()


# --- hidden values


def test_scalars_of_numpy_are_read_from_memory() -> None:
    run = aw.open_run([{"a.weight": np.ones((2, 2)), "a.scale": np.array(v)} for v in (1.0, 3.0)])

    analysis = aw.analyze(run)

    assert analysis.cumulative("a.scale") == 2


def test_arrays_that_are_write_protected_are_read_without_a_warning() -> None:
    weights = [np.full((2, 2), value, np.float32) for value in (1, 3)]
    for array in weights:
        array.setflags(write=False)

    analysis = aw.analyze(aw.open_run([{"a.weight": array} for array in weights]))

    assert (analysis.cumulative("a.weight") == 2).all()


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_arrays_of_ml_dtypes_are_widened_exactly(name: str) -> None:
    arrays = [
        np.array([[0.5, -1.75]], getattr(ml_dtypes, name)),
        np.array([[1.0, 2.0]], getattr(ml_dtypes, name)),
    ]

    analysis = aw.analyze(aw.open_run([{"a.weight": array} for array in arrays]))

    assert analysis.parameters[0].dtype == name
    assert analysis.cumulative("a.weight").tolist() == [[0.5, 3.75]]


def test_arrays_in_any_order_of_memory_are_read_in_theirs() -> None:
    states = [state.numpy() for state in oracle.series((30, 40))]

    plain = aw.analyze(aw.open_run([{"a.weight": s} for s in states]))
    turned = aw.analyze(aw.open_run([{"a.weight": np.asfortranarray(s)} for s in states]))

    assert turned.values.tobytes() == plain.values.tobytes()


def test_hidden_values_in_the_byte_order_of_another_machine_are_read(stored: Stored) -> None:
    run = states_run(stored, [torch.zeros(3, 2)] * 2)
    foreign = HiddenValues(lambda: np.full((3, 2), 1.5, ">f4"), "float32", (3, 2))
    tensors = {NAME: replace(run.checkpoints[1].tensors[NAME], values=foreign)}
    moved = replace(run.checkpoints[1], tensors=tensors)

    analysis = aw.analyze(replace(run, checkpoints=(run.checkpoints[0], moved)))

    assert (analysis.cumulative(NAME) == 1.5).all()


def test_hidden_values_of_another_shape_than_promised_are_refused(stored: Stored) -> None:
    run = states_run(stored, oracle.series((3, 2)), "hidden")
    wrong = HiddenValues(lambda: np.zeros((2, 3), np.float32), "float32", (3, 2))
    tensors = {NAME: replace(run.checkpoints[1].tensors[NAME], values=wrong)}
    checkpoints = list(run.checkpoints)
    checkpoints[1] = replace(checkpoints[1], tensors=tensors)

    with pytest.raises(FormatError, match=r"have shape \(2, 3\), promised was \(3, 2\)"):
        aw.analyze(replace(run, checkpoints=tuple(checkpoints)))


def test_a_hidden_value_is_loaded_once_per_walk(stored: Stored) -> None:
    loads: list[int] = []

    def load() -> np.ndarray:
        loads.append(1)
        return np.zeros((600, 1000), np.float32)

    run = states_run(stored, [torch.zeros(600, 1000)] * 3)
    tensors = {NAME: StoredTensor(NAME, HiddenValues(load, "float32", (600, 1000)))}
    hidden = tuple(replace(c, tensors=tensors) for c in run.checkpoints)

    aw.analyze(replace(run, checkpoints=hidden), threads=2)

    assert len(loads) == 3


def test_integers_without_a_scale_are_refused_with_the_way_out(stored: Stored) -> None:
    run = states_run(stored, [torch.zeros(3, dtype=torch.int8)] * 2)

    with pytest.raises(UnsupportedDtypeError) as caught:
        aw.analyze(run)

    assert "plain_0.raw: parameter 'layer.weight' cannot be analysed: int8" in str(caught.value)
    assert "--skip 'layer.weight'" in str(caught.value)


# --- files


def test_a_file_that_was_cut_since_is_named_with_what_was_expected(stored: Stored) -> None:
    run = states_run(stored, oracle.series((30, 10)))
    path = Path(run.checkpoints[2].path)
    os.truncate(path, 700)

    with pytest.raises(FormatError) as caught:
        aw.analyze(run)

    assert str(caught.value).startswith(f"{path}: the file ends at byte 700 but the tensor reaches")
    assert caught.value.path == str(path)


def test_a_file_that_is_gone_is_named(stored: Stored) -> None:
    run = states_run(stored, oracle.series((30, 10)))
    Path(run.checkpoints[1].path).unlink()

    with pytest.raises(FormatError, match=r"plain_1.raw: cannot be read \(No such file"):
        aw.analyze(run, threads=3)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_more_checkpoints_than_files_may_be_open_are_walked_and_all_are_closed(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "MOST_OPEN_FILES", 3)
    states = oracle.series((70, 900), steps=9)
    run = states_run(stored, states)
    before, most = open_descriptors(), 0

    def note(done: int, total: int) -> None:
        nonlocal most
        most = max(most, open_descriptors())

    analysis = aw.analyze(run, threads=2, block_elements=SMALLEST, progress=note)

    close(analysis.cumulative(NAME), oracle.cumulative(states), torch.float32)
    assert most <= before + 2 * 3 + 1
    assert open_descriptors() == before


def test_files_are_closed_and_torch_left_alone_when_a_walk_fails(
    stored: Stored, torch_threads: Callable[[int], None]
) -> None:
    run = states_run(stored, oracle.series((300, 500)))
    os.truncate(run.checkpoints[3].path, 100)
    torch_threads(2)
    before = open_descriptors()

    with pytest.raises(FormatError):
        aw.analyze(run, threads=3, block_elements=SMALLEST)

    assert open_descriptors() == before
    assert torch.get_num_threads() == 2


def test_progress_adds_up_to_the_bytes_of_all_checkpoints(stored: Stored) -> None:
    checkpoints = [
        {"a.weight": a, "b.weight": b.to(torch.bfloat16)}
        for a, b in zip(oracle.series((70, 900)), oracle.series((5, 40000)), strict=True)
    ]
    run = stored(checkpoints)
    shown: list[tuple[int, int]] = []

    aw.analyze(run, threads=2, block_elements=SMALLEST, progress=lambda *now: shown.append(now))

    total = 4 * (70 * 900 * 4 + 5 * 40000 * 2)
    assert shown[0] == (0, total)
    assert shown[-1] == (total, total)
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)


def test_parameters_are_finished_once_and_in_order(stored: Stored) -> None:
    names = [f"p{i}.weight" for i in range(9)]
    sizes = [3, 0, 70000, 1, 16384, 5, 40000, 2, 1]
    run = stored(
        [{n: torch.ones(s) * t for n, s in zip(names, sizes, strict=True)} for t in (0, 1)]
    )
    finished: list[tuple[str, int]] = []

    def walk(name: str, size: int) -> ParameterWalk:
        tensors = [c.tensors[name] for c in run.checkpoints]
        blocks = blocks_of((size,), 1)
        return ParameterWalk(
            name, tensors, blocks, done=lambda totals: finished.append((name, totals.elements))
        )

    BlockWalk(run.checkpoints, threads=3).run([walk(*p) for p in zip(names, sizes, strict=True)])

    assert finished == list(zip(names, sizes, strict=True))


def test_one_block_can_be_walked_on_its_own(stored: Stored) -> None:
    states = oracle.series((10, 20000))
    run = states_run(stored, states)
    tensors = [c.tensors[NAME] for c in run.checkpoints]
    seen: list[np.ndarray] = []

    with OpenFiles() as files:
        sums = walk_block(
            files,
            tensors,
            Block(40000, 60000),
            watcher=lambda step, plane: seen.append(plane.copy()),
        )

    assert sums.elements == [16384, 3616]
    close(seen[-1], oracle.cumulative(states)[2], torch.float32)


def test_copies_are_told_from_other_weights_at_the_last_element(stored: Stored) -> None:
    weights = torch.zeros(1 << 20, 2)
    weights[0, 0] = math.nan
    other = weights.clone()
    other[-1, -1] = 1e-30
    run = stored([{NAME: weights}, {NAME: weights}, {NAME: other}])
    tensors = [list(c.tensors.values()) for c in run.checkpoints]

    assert same_values(tensors[0], tensors[1])
    assert not same_values(tensors[0], tensors[2])
    assert not same_values(tensors[0], [])


# --- memory

MEMORY = """
import json, sys
from pathlib import Path
import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.store import analysis_store as store
from accweight_core.pictures import plan as pictures
from accweight_core.jobs import pipeline
from accweight_core.schema import *
from accweight_core.naming import layers_of
from accweight_core.jit import tiers

tiers.FREE_WORK = 0  # the loops are there before anything is measured

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

def run(folder, shape):
    checkpoints = []
    for path in sorted(Path(folder).glob("*.raw")):
        values = Extent(str(path), 0, "float32", shape)
        tensor = StoredTensor("a.weight", values, Hints(kind=Kind.LINEAR, role=Role.WEIGHT))
        state = path.stat()
        checkpoints.append(Checkpoint(str(path), len(checkpoints), "", "raw", {"a.weight": tensor},
                                      state.st_size, state.st_mtime_ns))
    return Run(folder, "raw", tuple(checkpoints), layers_of([tensor]))

folder, out = map(Path, sys.argv[1:3])
aw.analyze(run(str(folder / "small"), (64, 64)), out / "small.accw", threads=2)
for name, (shape, budget) in json.loads(sys.argv[3]).items():
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    before = peak()
    large = run(str(folder), tuple(shape))
    aw.analyze(large, out / f"{name}.accw", threads=2, picture_budget_bytes=budget)
    print(json.dumps([name, peak() - before]))
"""
"""Prints the peak of each case. Not ru_maxrss: a process starts with that of whoever started it."""

LARGE_CASES = {
    "rows": ((2000, 4000), 8 << 20),
    "a vector": ((8_000_000,), 8 << 20),
    "a vector that is not drawn": ((8_000_000,), 0),
    "two rows": ((2, 4_000_000), 8 << 20),
    "two columns": ((4_000_000, 2), 0),
    "sheets": ((4, 1000, 2000), 8 << 20),
}
"""Shapes of one parameter, and bytes of pictures."""


@pytest.fixture(scope="module")
def large_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Five checkpoints of 8 million float32 weights, 160 MB in all, removed at once."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "small").mkdir()
    chance = np.random.default_rng(0)
    for step in range(5):
        weights = chance.standard_normal(8_000_000, np.float32)
        weights.tofile(folder / f"{step}.raw")
        weights[:4096].tofile(folder / "small" / f"{step}.raw")
    yield folder
    for path in folder.glob("*.raw"):
        path.unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_run(large_checkpoints: Path, tmp_path: Path) -> None:
    arguments = [str(large_checkpoints), str(tmp_path), json.dumps(LARGE_CASES)]

    shown = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True
    )

    peaks = dict(map(json.loads, shown.stdout.splitlines()))
    assert peaks.keys() == LARGE_CASES.keys()
    # one checkpoint is 32 MB, and A_t of it 64 MB
    assert {name: peak for name, peak in peaks.items() if peak >= 32 << 20} == {}
