"""One weight through a run: bit for bit what `cumulative` says, read as a few bytes per file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import oracle
import pytest
import torch
from checkpoints import FORMATS, small, states, write_run
from safetensors.torch import load_file
from thorough import sampled

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.tracing import Trace
from accweight_core.errors import SourceError, UnknownNameError
from accweight_core.io.reading import OpenFiles
from accweight_core.live.tracker import ChangeTracker

Stored = Callable[..., aw.Run]
Index = tuple[int, ...]


def loaded(path: Path) -> Mapping[str, torch.Tensor]:
    """Return the weights in a file as its own library loads them."""
    if path.suffix in (".pt", ".pth"):
        state: Mapping[str, torch.Tensor] = torch.load(path, weights_only=True)
        return state
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".json":
        shards = set(json.loads(path.read_text())["weight_map"].values())
        return {n: v for shard in shards for n, v in load_file(path.parent / shard).items()}
    graph = onnx.load(path).graph
    arrays = {i.name: np.asarray(onnx.numpy_helper.to_array(i)) for i in graph.initializer}
    return {name: torch.from_numpy(as_float(array)) for name, array in arrays.items()}


def as_float(array: np.ndarray) -> np.ndarray:
    """Return an array of a type that torch knows."""
    return array.copy() if array.dtype.kind in "fi" else array.astype(np.float32)


def places(shape: Sequence[int]) -> list[Index]:
    """Return the first, the last and some other indices."""
    chance = np.random.default_rng(0)
    some = [tuple(int(chance.integers(n)) for n in shape) for _ in range(3)]
    return [tuple(0 for _ in shape), tuple(n - 1 for n in shape), *some]


def assert_is_what_cumulative_says(analysis: Analysis, traces: Sequence[Trace]) -> None:
    """Compare every step of some traces of one parameter, bit for bit."""
    paths = [analysis.cumulative(traces[0].parameter, int(step)) for step in analysis.steps]
    for found in traces:
        expected = np.array([path[found.index] for path in paths])
        assert found.cumulative.dtype == np.float64
        assert found.cumulative.tobytes() == expected.tobytes()


# --- the same as everywhere


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_trace_is_what_the_files_hold_and_what_cumulative_says(
    tmp_path: Path, format_name: str, dtype: torch.dtype
) -> None:
    folder = write_run(tmp_path / "run", states(4, dtype=dtype), format_name)
    aw.analyze(aw.open_run(folder), tmp_path / "run.accw")
    files = [loaded(folder / FORMATS[format_name][0].format(step=step)) for step in range(4)]

    analysis = aw.open_analysis(tmp_path / "run.accw")

    assert {"conv1.weight", "fc1.weight", "bn1.bias"} <= {p.name for p in analysis.parameters}
    for parameter in analysis.parameters:
        found = [analysis.trace(parameter.name, index) for index in places(parameter.shape)]
        assert_is_what_cumulative_says(analysis, found)
        for one in found:
            expected = [float(file[parameter.name][one.index]) for file in files]
            assert (one.parameter, one.steps.tolist()) == (parameter.name, [0, 1, 2, 3])
            assert one.weights.dtype == np.float64
            assert one.weights.tolist() == expected


LIE = product(
    [(2, 17000), (), (1,), (17,), (33, 7), (6, 3, 5, 2)],
    oracle.FORMS,
    [*oracle.DTYPES, torch.complex128],
)
"""Shapes, the longest with rows of two sub-blocks; forms; dtypes."""


@pytest.mark.parametrize(("shape", "form", "dtype"), list(sampled(LIE, 3)), ids=str)
def test_any_shape_and_type_is_traced_however_its_bytes_lie(
    stored: Stored, shape: Index, form: str, dtype: torch.dtype
) -> None:
    series = oracle.series(shape, dtype)
    weights = [{"a.weight": state, "b.weight": torch.ones(2, 2)} for state in series]

    analysis = aw.analyze(stored(weights, form))
    found = [analysis.trace("a.weight", index) for index in places(shape)]

    assert_is_what_cumulative_says(analysis, found)
    for one in found:
        assert one.weights.tolist() == [oracle.wide(state)[one.index].item() for state in series]


def test_what_is_not_finite_has_not_moved_but_is_shown(stored: Stored) -> None:
    nan, inf = np.nan, np.inf
    walks = [(1.0, 2.0, nan, 5.0), (nan, 3.0, inf, 2.0), (nan, nan, nan, nan), (0.0, -1.0, 1.0, 1)]
    series = [{"a.weight": torch.tensor(values)[:, None]} for values in zip(*walks, strict=True)]

    analysis = aw.analyze(stored(series))
    found = [analysis.trace("a.weight", (row, 0)) for row in range(4)]

    for one, walk in zip(found, walks, strict=True):
        np.testing.assert_array_equal(one.weights, walk)
    assert [one.cumulative.tolist() for one in found] == [
        [0, 1, 1, 4], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 3, 3]
    ]  # fmt: skip
    assert_is_what_cumulative_says(analysis, found)


def test_a_step_of_another_type_changes_how_all_are_subtracted(stored: Stored) -> None:
    series = oracle.series((4, 5), torch.float64)
    series[0], series[1] = series[0].half(), series[1].float()

    analysis = aw.analyze(stored([{"a.weight": state} for state in series]))

    assert_is_what_cumulative_says(analysis, [analysis.trace("a.weight", (3, 1))])


# --- weights whose neighbours decide


def float32_path(series: Sequence[torch.Tensor], index: Index) -> float:
    """Return A_T of one weight, subtracted in float32."""
    walk = np.array([state[index].item() for state in series], dtype=np.float32)
    return float(np.abs(np.diff(walk)).astype(np.float64).sum())


@pytest.mark.parametrize("form", ["plain", "strided", "hidden"])
def test_beside_a_huge_weight_others_are_subtracted_as_cumulative_does(
    stored: Stored, form: str
) -> None:
    series = oracle.series((40, 30))
    series[0][20, 10], series[1][20, 10] = 1.0, 0.1  # whose difference float32 cannot hold
    series[1][0, 0] = 3e38

    analysis = aw.analyze(stored([{"a.weight": state} for state in series], form))
    found = analysis.trace("a.weight", (20, 10))

    assert_is_what_cumulative_says(analysis, [found])
    assert found.cumulative[-1] != float32_path(series, (20, 10))
    assert found.weights.tolist() == [state[20, 10].item() for state in series]


def test_complex_weights_round_as_they_do_in_a_vector(stored: Stored) -> None:
    series = oracle.series((400,), torch.complex128)

    analysis = aw.analyze(stored([{"a.weight": state} for state in series]))

    assert_is_what_cumulative_says(analysis, [analysis.trace("a.weight", (i,)) for i in range(400)])


def test_pieces_that_differ_from_step_to_step_are_told_apart(tmp_path: Path) -> None:
    series = oracle.series((300, 1000))
    series[0][150], series[1][150] = 1.0, 0.1
    series[1][170, 0] = 3e38  # in the second block; in the piece of row 150 if taken whole
    weights = [{"a.weight": state} for state in series]
    plain = oracle.raw_run(tmp_path, weights)
    hidden = oracle.raw_run(tmp_path, weights, "hidden")
    mixed = replace(plain, checkpoints=(*plain.checkpoints[:3], *hidden.checkpoints[3:]))

    analysis = aw.analyze(mixed)
    found = analysis.trace("a.weight", (150, 3))

    assert_is_what_cumulative_says(analysis, [found])


# --- what is read


@pytest.mark.parametrize("form", ["plain", "transposed", "strided", "big-endian"])
def test_one_element_per_checkpoint_is_read(
    stored: Stored, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = oracle.series((50, 60), torch.bfloat16)
    analysis = aw.analyze(stored([{"a.weight": state} for state in series], form))
    sizes = []
    read = OpenFiles.read

    def counted(self: OpenFiles, path: str, offset: int, out: memoryview) -> None:
        sizes.append(out.nbytes)
        read(self, path, offset, out)

    monkeypatch.setattr(OpenFiles, "read", counted)
    analysis.trace("a.weight", (30, 20))

    assert sizes == [2] * len(series)


def test_files_that_are_kept_open_are_read_again(stored: Stored) -> None:
    run = stored([{"a.weight": state} for state in oracle.series((5, 6))])
    analysis = aw.analyze(run)

    with OpenFiles() as files:
        before = analysis.trace("a.weight", (1, 2), files=files)
        for checkpoint in run.checkpoints:
            Path(checkpoint.path).unlink()
        after = analysis.trace("a.weight", (1, 2), files=files)

    assert after.weights.tolist() == before.weights.tolist()


def test_an_analysis_that_has_grown_is_traced_over_all_steps(tmp_path: Path) -> None:
    series = states(5)
    folder = write_run(tmp_path / "run", series[:3])
    aw.analyze(aw.open_run(folder), tmp_path / "run.accw", keep_state=True)
    write_run(folder, series[3:], steps=[3, 4])
    aw.append(aw.open_run(folder), tmp_path / "run.accw")

    analysis = aw.open_analysis(tmp_path / "run.accw")
    found = analysis.trace("fc1.weight", (3, 7))

    assert found.steps.tolist() == [0, 1, 2, 3, 4]
    assert_is_what_cumulative_says(analysis, [found])


# --- errors


@pytest.fixture
def opened(tmp_path: Path) -> Analysis:
    """Three steps of one linear layer, opened from disk."""
    folder = write_run(tmp_path / "run", [small(value) for value in (0.0, 0.25, 1.0)])
    aw.analyze(aw.open_run(folder), tmp_path / "run.accw")
    return aw.open_analysis(tmp_path / "run.accw")


def test_an_analysis_traces_its_weights(opened: Analysis) -> None:
    found = opened.trace("fc.weight", (2, 3))

    assert found.weights.tolist() == [11 / 8, 13 / 8, 19 / 8]
    assert found.cumulative.tolist() == [0, 0.25, 1]


def test_an_unknown_parameter_cannot_be_traced(opened: Analysis) -> None:
    with pytest.raises(UnknownNameError, match=r"no parameter is called 'fd'; there are 2: "):
        opened.trace("fd", (0, 0))


@pytest.mark.parametrize("index", [(), (0,), (0, 0, 0), (3, 0), (0, 4), (-1, 0), (0, -1)], ids=str)
def test_an_index_outside_the_shape_is_an_error_in_one_line(opened: Analysis, index: Index) -> None:
    with pytest.raises(UnknownNameError) as caught:
        opened.trace("fc.weight", index)

    assert str(caught.value) == (
        f"parameter 'fc.weight' has no element {index}: its shape is (3, 4), "
        "and an index is a number per axis, counted from 0"
    )


def test_nothing_of_an_empty_parameter_can_be_traced() -> None:
    weights = {"a.weight": torch.ones(2, 2), "e.weight": torch.ones(0, 2)}
    analysis = aw.analyze(aw.open_run([weights, weights]))

    with pytest.raises(UnknownNameError, match=r"'e.weight' has no element \(0, 0\)"):
        analysis.trace("e.weight", (0, 0))


def test_a_trace_needs_the_checkpoints(opened: Analysis, tmp_path: Path) -> None:
    (tmp_path / "run" / "epoch_1.pt").unlink()

    with pytest.raises(SourceError, match=r"epoch_1.pt: .* step 1 is missing"):
        opened.trace("fc.weight", (0, 0))


def test_checkpoints_that_have_changed_are_not_traced(opened: Analysis, tmp_path: Path) -> None:
    os.utime(tmp_path / "run" / "epoch_2.pt", ns=(0, 0))

    with pytest.raises(SourceError, match=r"epoch_2.pt: .* has changed since the analysis began"):
        opened.trace("fc.weight", (0, 0))


def test_what_was_tracked_in_training_has_no_checkpoints_to_trace() -> None:
    tracker = ChangeTracker().update(small(0)).update(small(1))

    with pytest.raises(SourceError, match=r"^tracked while training: there are no checkpoints"):
        tracker.analysis().trace("fc.weight", (0, 0))
