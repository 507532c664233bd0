"""The Triton kernel against the plain operations: on the GPU where there is one, else interpreted.

Triton's interpreter runs the kernel's own lines with numpy, addresses and all, but neither its
threads nor its compiler; `test_the_kernel_compiles_for_devices_that_are_not_here` does the rest
of what can be done without a device.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import oracle
import pytest
import torch
from thorough import THOROUGH
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import accweight_core as aw
from accweight_core import kernels
from accweight_core.kernels import SUMS
from accweight_core.live import device_rows
from accweight_core.live.batches import Batches
from accweight_core.live.device_rows import DeviceRows

pytest.importorskip("triton", reason="needs Triton, which torch brings along on GPUs alone")

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

EXACT = [SUMS.index(n) for n in ("path_max", "path_argmax", "step_max", "flips", "nonfinite")]

LENGTHS = (1, 3, 511, 512, 513, 1025)
"""One element, less than a vector, around the elements of a turn of the loop, and of two."""

LONG = (2049, 16384) if THOROUGH or DEVICE.type == "cuda" else ()
"""Many turns, up to a full sub-block: interpreted, each takes as long as a short row."""

precisions = pytest.mark.parametrize("compensated", [False, True], ids=["float64", "compensated"])

Step = Sequence[Tensor]


def rows_of(tensors: Step, *, compensated: bool = False) -> DeviceRows:
    """One row for each tensor."""
    rows = DeviceRows(DEVICE, tensors[0].dtype, compensated=compensated)
    for index, tensor in enumerate(tensors):
        rows.add(str(index), 0, 1, tensor.numel())
    return rows


def measured(steps: Sequence[Step], *, compensated: bool = False) -> tuple[np.ndarray, DeviceRows]:
    """Partial sums (steps, rows, columns of SUMS) by the kernel."""
    rows = rows_of(steps[0], compensated=compensated)
    sums = [rows.take({str(i): t.to(DEVICE) for i, t in enumerate(step)}) for step in steps]
    return torch.stack(sums).cpu().double().numpy(), rows


def expected(steps: Sequence[Step], *, compensated: bool = False) -> tuple[np.ndarray, list]:
    """The same by plain operations, and the states."""
    columns, states = [], []
    for walk in zip(*steps, strict=True):
        first, *later = (weights[None].float() for weights in walk)
        state, sums = kernels.start_block(first, compensated=compensated)
        state.previous, found = first.clone(), [sums]
        for current in later:
            found.append(kernels.measure_step(state, current, kernels.Scratch()))
            state.previous = current
        columns.append(torch.cat(found).double().numpy())
        states.append(state)
    return np.stack(columns, axis=1), states


def assert_alike(found: np.ndarray, plain: np.ndarray, *, compensated: bool = False) -> None:
    """Exact where nothing is summed; else within what the order of a sum may change.

    Of n terms that is n units in the last place at worst, and their root as a rule.
    """
    np.testing.assert_array_equal(found[..., EXACT], plain[..., EXACT])
    rtol = 2e-6 if compensated else 1e-13
    for index, name in enumerate(SUMS):
        np.testing.assert_allclose(found[..., index], plain[..., index], rtol, 0, err_msg=name)


def walks(lengths: Sequence[int], dtype: torch.dtype = torch.float32, steps: int = 3) -> list[Step]:
    series = [oracle.series((n,), dtype, steps, seed=i) for i, n in enumerate(lengths)]
    return [list(step) for step in zip(*series, strict=True)]


def path_of(rows: DeviceRows, index: int) -> np.ndarray:
    return rows.state_of(next(s for s in rows.stretches if s.name == str(index))).path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let trackers of this test use the kernel on `DEVICE`."""
    monkeypatch.setattr(device_rows, "DEVICES", (DEVICE.type,))
    device_rows.works.cache_clear()
    yield
    device_rows.works.cache_clear()


# --- the same sums


@precisions
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_kernel_measures_what_plain_operations_measure(
    dtype: torch.dtype, compensated: bool
) -> None:
    lengths = LENGTHS if dtype == torch.float32 else LENGTHS[1::2]
    steps = walks((*lengths, *LONG), dtype)

    found, rows = measured(steps, compensated=compensated)

    plain, states = expected(steps, compensated=compensated)
    assert_alike(found, plain, compensated=compensated)
    for index, state in enumerate(states):
        total = state.total.double()
        if state.compensation is not None:
            total = total + state.compensation.double()
        assert path_of(rows, index).tobytes() == total.numpy().tobytes()


@precisions
@pytest.mark.parametrize("length", [7, 530])
def test_what_is_not_finite_is_counted_and_left_out(length: int, compensated: bool) -> None:
    steps = walks([length, length], steps=6)
    for step in steps[:4]:
        step[0][3] = math.nan  # seen late
    for step in steps:
        step[1][-1] = math.inf  # never seen
    steps[2][0][0] = steps[3][0][0] = -math.inf  # lost for a while, and the pivot
    steps[5][1][:] = math.nan  # all at once
    steps[0][1][0] = math.nan  # a pivot that is seen late

    found, rows = measured(steps, compensated=compensated)

    plain, states = expected(steps, compensated=compensated)
    assert_alike(found, plain, compensated=compensated)
    assert found[:, 0, SUMS.index("nonfinite")].tolist() == [1, 1, 2, 2, 0, 0]
    for index, state in enumerate(states):
        np.testing.assert_allclose(path_of(rows, index), state.total[0].double(), rtol=1e-6)


@precisions
@pytest.mark.parametrize("value", [0.0, 0.1, -1e-30, 123.456])
def test_weights_that_move_alike_have_no_spread(value: float, compensated: bool) -> None:
    steps = [[torch.full((777,), step * value)] for step in range(4)]

    found, _ = measured(steps, compensated=compensated)

    assert (found[..., SUMS.index("path_m2")] == 0).all()
    assert (found[..., SUMS.index("path_argmax")] == 0).all()
    assert_alike(found, expected(steps, compensated=compensated)[0], compensated=compensated)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [1e38, 3e38, 1e-45, 1e-38])
def test_huge_and_tiny_weights_are_measured(value: float) -> None:
    signs = torch.tensor([1.0, -1.0, 0.0, 1.0, 1.0])
    steps = [[signs.roll(step) * torch.tensor(value)] for step in range(4)]

    found, _ = measured(steps)

    assert_alike(found, expected(steps)[0])


@precisions
def test_a_tiny_step_on_a_long_path_is_not_lost(compensated: bool) -> None:
    steps = [[torch.full((20,), value)] for value in (0.0, 1e4, 0.0, *[2.0**-17, 0.0] * 5)]

    _, rows = measured(steps, compensated=compensated)

    assert (path_of(rows, 0) - 2e4 == 10 * 2.0**-17).all()


def test_the_first_of_equal_maxima_is_where_the_maximum_sits() -> None:
    steps = [[torch.zeros(1200) for _ in range(3)] for _ in range(2)]
    steps[1][0][[5, 1100]] = 2.0
    steps[1][1][[511, 512, 1199]] = -1.0
    steps[1][2][1198] = 1e-45

    found, _ = measured(steps)

    assert found[1, :, SUMS.index("path_argmax")].tolist() == [5, 511, 1198]


# --- whatever else is measured, and wherever it lies


@precisions
def test_a_row_has_the_same_bits_alone_and_in_any_company(compensated: bool) -> None:
    steps = walks([700, 1100, 5, 64])
    alone = [measured([[step[i]] for step in steps], compensated=compensated) for i in range(4)]

    together, _ = measured([step[::-1] for step in steps], compensated=compensated)

    joined = np.concatenate([sums for sums, _ in alone[::-1]], axis=1)
    assert together.tobytes() == joined.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [1, 3, 4])
def test_weights_that_begin_anywhere_are_read_where_they_lie(
    offset: int, dtype: torch.dtype
) -> None:
    steps = walks([530, 33], dtype, steps=2)
    room = [[torch.full((600,), 7.0, dtype=dtype, device=DEVICE) for _ in s] for s in steps]
    shifted = [
        [r[offset : offset + t.numel()].copy_(t) for r, t in zip(rooms, step, strict=True)]
        for rooms, step in zip(room, steps, strict=True)
    ]

    found, rows = measured(shifted)

    assert_alike(found, expected(steps)[0])
    assert rows._rows is not None
    assert not rows._rows.aligned


def test_rows_of_a_tensor_follow_each_other() -> None:
    walk = oracle.series((7, 50), steps=3)
    rows = DeviceRows(DEVICE, torch.float32, compensated=False)
    stretch = rows.add("a", 50, 6, 50)

    sums = torch.stack([rows.take({"a": w.reshape(-1).to(DEVICE)}) for w in walk]).cpu().numpy()

    plain, states = expected([list(w[1:]) for w in walk])
    assert_alike(sums, plain)
    np.testing.assert_array_equal(
        rows.state_of(stretch).path, torch.cat([s.total for s in states]).numpy().reshape(-1)
    )


def test_the_table_is_sent_again_only_when_a_tensor_has_moved() -> None:
    steps = [[tensor.to(DEVICE) for tensor in step] for step in walks([64, 100], steps=4)]
    place, other = ([tensor.clone() for tensor in steps[0]] for _ in range(2))
    rows = rows_of(steps[0])
    found, tables = [], []

    for weights, step in zip((place, place, other, place), steps, strict=True):
        for tensor, values in zip(weights, step, strict=True):
            tensor.copy_(values)
        found.append(rows.take({str(i): tensor for i, tensor in enumerate(weights)}).cpu())
        tables.append(rows._rows)

    assert tables[0] is tables[1]
    assert len({id(table) for table in tables}) == 3
    assert_alike(torch.stack(found).numpy(), expected([[t.cpu() for t in s] for s in steps])[0])


def test_weights_that_come_in_another_dtype_are_measured_on() -> None:
    steps = walks([40, 1000], torch.bfloat16, steps=5)
    steps[0][0][2] = math.nan
    steps[2:] = [[t.float() * 1.001 for t in step] for step in steps[2:]]
    steps[4][1] = steps[4][1].half()

    found, rows = measured(steps)

    assert_alike(found, expected(steps)[0])
    assert rows.state.previous.dtype == torch.float32


def test_half_precision_is_kept_in_half_the_bytes() -> None:
    _, rows = measured(walks([32], torch.bfloat16))

    state = rows.state
    tensors = state.reference, state.previous, state.total
    assert sum(tensor.element_size() for tensor in tensors) == 12


# --- trackers


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("precision", ["float64", "compensated"])
def test_a_tracker_that_uses_the_kernel_shows_the_same_metrics(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = {
        "a.weight": oracle.series((20, 900), steps=4),  # two sub-blocks, the second cut short
        "b.weight": oracle.series((8, 3, 5, 5), torch.bfloat16, steps=4),
        "c.weight": [w.t() for w in oracle.series((30, 20), steps=4)],
        "d.weight": oracle.series((4, 4), torch.complex64, steps=4),
        "e.weight": oracle.series((6, 6), torch.float64, steps=4),
        "f.weight": oracle.series((0, 6), steps=4),
    }
    series["a.weight"][2][3, 3] = math.nan
    checkpoints = [{n: w[t].to(DEVICE) for n, w in series.items()} for t in range(4)]
    trackers = []

    for devices in ((DEVICE.type,), ()):
        monkeypatch.setattr(device_rows, "DEVICES", devices)
        tracker = aw.ChangeTracker(precision=precision)  # type: ignore[arg-type]
        for weights in checkpoints:
            tracker.update(weights)
        trackers.append(tracker)

    kinds = [{type(b) for b in tracker._measuring._batches._batches} for tracker in trackers]
    assert [DeviceRows in kind for kind in kinds] == [True, False]
    values = [tracker.analysis().values for tracker in trackers]
    rtol = 1e-12 if precision == "float64" else 2e-6
    np.testing.assert_allclose(values[0], values[1], rtol=rtol)
    for name in series:
        paths = [tracker.cumulative(name) for tracker in trackers]
        np.testing.assert_allclose(paths[0], paths[1], rtol=1e-12)


@pytest.mark.usefixtures("here")
def test_thousands_of_tensors_are_one_launch() -> None:
    weights = {f"l{i}.weight": torch.randn(4, 4 + 4 * (i % 7)).to(DEVICE) for i in range(2000)}

    batches = Batches(weights)

    assert len(batches._batches) == 1
    assert sum(stretch.rows for stretch in batches._batches[0]._starts) == 2000


class Operations(TorchDispatchMode):
    """Keeps the names of the operations of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Keep one."""
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_a_step_asks_torch_for_room_for_its_sums_and_for_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accweight_core.live import triton_step

    steps = [[tensor.to(DEVICE) for tensor in step] for step in walks([64, 100], steps=1)] * 2
    rows = rows_of(steps[0])
    flat = {str(i): tensor for i, tensor in enumerate(steps[0])}
    rows.take(flat)
    launched: list[int] = []

    class Kernel:
        def __getitem__(self, grid: tuple[int]) -> object:
            return lambda *_, **__: launched.append(grid[0])

    monkeypatch.setattr(triton_step, "_measure", Kernel())  # the interpreter copies for itself
    with Operations() as operations:
        rows.take(flat)

    assert launched == [2]
    assert operations.names == ["aten::empty.memory_format"]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_update_never_waits_for_a_gpu() -> None:
    states = [{"a.weight": torch.randn(50, 60).cuda()} for _ in range(4)]
    states += [{"a.weight": torch.randn(60, 50).cuda().t()} for _ in range(2)]
    device_rows.works(DEVICE, torch.float32, False)
    tracker = aw.ChangeTracker()

    torch.cuda.set_sync_debug_mode("error")
    try:
        for state in states:
            tracker.update(state)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert tracker.analysis().steps.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_tracker_by_the_kernel_is_saved_and_goes_on_bit_for_bit(dtype: torch.dtype) -> None:
    checkpoints = [
        {f"l{i}.weight": w.reshape(1, -1).to(DEVICE) for i, w in enumerate(step)}
        for step in walks((3, 100), dtype, steps=4)
    ]
    for step in (0, 1):
        checkpoints[step]["l1.weight"][0, 7] = math.nan
    whole, first = (aw.ChangeTracker(errors="raise") for _ in range(2))
    for weights in checkpoints:
        whole.update(weights)
    for weights in checkpoints[:2]:
        first.update(weights)

    resumed = aw.ChangeTracker(errors="raise").load_state_dict(first.state_dict())
    for weights in checkpoints[2:]:
        resumed.update(weights)

    assert isinstance(resumed._measuring._batches._batches[0], DeviceRows)
    assert resumed.analysis().values.tobytes() == whole.analysis().values.tobytes()
    assert resumed.cumulative("l1").tobytes() == whole.cumulative("l1").tobytes()


# --- where it cannot be had


@pytest.mark.usefixtures("here")
def test_without_triton_plain_operations_measure_and_say_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "accweight_core.live.triton_step", raising=False)
    weights = {"a.weight": torch.zeros(2, 2, device=DEVICE)}

    with pytest.warns(UserWarning, match=r"plain torch operations.*: import of triton halted"):
        tracker = aw.ChangeTracker().update(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aw.ChangeTracker().update(weights)

    tracker.update({"a.weight": torch.ones(2, 2, device=DEVICE)})
    assert (tracker.cumulative("a.weight") == 1).all()


@pytest.mark.usefixtures("here")
def test_a_kernel_that_does_not_compile_stops_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from accweight_core.live import triton_step

    class Broken:
        def __getitem__(self, grid: object) -> object:
            raise RuntimeError("Failed to find C compiler\nand a long story")

    monkeypatch.setattr(triton_step, "_measure", Broken())

    with pytest.warns(UserWarning, match="Failed to find C compiler$"):
        tracker = aw.ChangeTracker().update({"a.weight": torch.zeros(2, 2, device=DEVICE)})

    assert tracker.update({"a.weight": torch.ones(2, 2, device=DEVICE)}).analysis()


COMPILING = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from accweight_core.live import triton_step

found = []
for wide, weights in (("*fp64", "*fp32"), ("*fp64", "*bf16"), ("*fp32", "*fp32")):
    kinds = ["*i64", "*i64", "*i32", weights, weights, wide, wide, wide]
    names = triton_step._measure.arg_names
    signature = dict(zip(names, [*kinds, "constexpr", "constexpr"]))
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(len(kinds))}
    constants = {(8,): wide == "*fp32", (9,): True}
    source = ASTSource(triton_step._measure, signature, constants, aligned)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", 80, 32), options={"num_warps": triton_step.WARPS}
    )
    found.append(compiled.asm["ptx"])
json.dump(found, sys.stdout)
"""


def test_the_kernel_compiles_for_devices_that_are_not_here() -> None:
    """And its loop, on which the speed rests, reads a tensor by one instruction and never waits."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}

    shown = subprocess.run(
        [sys.executable, "-c", COMPILING], capture_output=True, text=True, env=environment
    )

    assert shown.returncode == 0, shown.stderr
    for code, tensors in zip(json.loads(shown.stdout), (4, 4, 5), strict=True):
        loops = re.findall(r"^(\$\w+):(.*?)bra\s+\1;", code, re.DOTALL | re.MULTILINE)
        loop = max((body for _, body in loops), key=len)
        assert loop.count("ld.global") == tensors
        assert "bar.sync" not in loop
        assert "shfl" not in loop
