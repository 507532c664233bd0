"""The kernel: what one weight costs at one step, in nanoseconds, one thread, in one run.

One block is walked to and fro between two states in cache, by every version in turn: the plain
formulas in torch, the same in NumPy, the compiled pass, the same bits without a compiler, and
torch.compile's code where there is a C++ compiler for it. Beside them what cannot be beaten:
reading the same bytes from the page cache into a reused buffer, and adding up A_t alone without
any metric. Then the compiled pass by how many steps it takes at once, against simple loops
(`simple_loops`), and what widening costs. Sums are checked against the formulas in float64.
Ratios are of the least times: on a machine that is shared, medians measure the others too.

    python benchmarks/kernel.py                          blocks of 64 Ki and of 256 Ki weights
    python benchmarks/kernel.py --baseline OLD_FUSED.py  an earlier fused.py in the same run
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from simple_loops import rivals

from accweight_core import kernels
from accweight_core.dtypes import DTYPES
from accweight_core.io.widening import widen
from accweight_core.jit import fused, tiers
from accweight_core.jit.rows import RowState
from accweight_core.kernels import SUB_BLOCK, SUMS, BlockState, Scratch

Step = Callable[[BlockState, torch.Tensor, Scratch], torch.Tensor]


class Walk:
    """A block that goes to and fro between two states."""

    def __init__(self, rows: int, step: Step) -> None:
        chance = torch.Generator().manual_seed(0)
        shape = rows, SUB_BLOCK
        start = torch.randn(shape, generator=chance) * 0.05
        self.states = [start + torch.randn(shape, generator=chance) * 0.002 for _ in range(2)]
        rows, _ = fused.start_block(start.numpy())
        square, total = map(torch.from_numpy, (rows.reference_square, rows.total))
        self.state = BlockState(start, square, start, total)
        self._step, self._scratch, self._count = step, Scratch(), 0

    def go(self) -> torch.Tensor:
        """Take one step; its partial sums."""
        current = self.states[self._count % 2]
        sums = self._step(self.state, current, self._scratch)
        self.state.previous = current
        self._count += 1
        return sums


def through(module: Any, *, is_compiled: bool = True) -> Step:
    """Return the fused step of a version of `fused`."""

    def step(state: BlockState, current: torch.Tensor, scratch: Scratch) -> torch.Tensor:
        parts = state.reference, state.reference_square, state.previous, state.total
        tiers.FREE_WORK = -1 if is_compiled else sys.maxsize
        sums = module.measure_step(RowState(*(part.numpy() for part in parts)), current.numpy())
        tiers.FREE_WORK = -1
        return torch.from_numpy(sums)

    return step


def numpy_step(state: BlockState, current: torch.Tensor, scratch: Scratch) -> torch.Tensor:
    """Every sum as one would write it in NumPy."""
    w, total = current.numpy(), state.total.numpy()
    moved = np.abs(w - state.previous.numpy()).astype(np.float64)
    net = np.abs(w - state.reference.numpy()).astype(np.float64)
    total += moved
    flips = (np.sign(w) != np.sign(state.reference.numpy())).sum(axis=1)
    columns = {
        "path_sum": total.sum(axis=1),
        "path_m2": total.var(axis=1) * total.shape[1],
        "path_max": total.max(axis=1),
        "path_argmax": total.argmax(axis=1),
        "step_sum": moved.sum(axis=1),
        "step_square": (moved * moved).sum(axis=1),
        "step_max": moved.max(axis=1),
        "net_sum": net.sum(axis=1),
        "net_square": (net * net).sum(axis=1),
        "square": (w.astype(np.float64) ** 2).sum(axis=1),
        "reference_square": state.reference_square.numpy(),
        "flips": flips,
        "nonfinite": (~np.isfinite(w)).sum(axis=1),
    }
    return torch.from_numpy(np.stack([columns[name] for name in SUMS], axis=1))


def total_alone(state: BlockState, current: torch.Tensor, scratch: Scratch) -> torch.Tensor:
    """A_t and no metric, in torch."""
    kernels.accumulate_(state.total, state.previous, current)
    return torch.empty(0)


def compiled_by_torch() -> Step:
    """The plain formulas as torch.compile fuses them."""

    def sums(
        reference: torch.Tensor, previous: torch.Tensor, total: torch.Tensor, w: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        moved = (w - previous).abs().double()
        net = (w - reference).abs().double()
        path = total + moved
        offset = path - path[:, :1]
        elements = w.shape[1]
        spread = (offset * offset).sum(1) - offset.sum(1) ** 2 / elements
        columns = {
            "path_sum": offset.sum(1) + path[:, 0] * elements,
            "path_m2": spread.clamp(min=0),
            "path_max": path.amax(1),
            "path_argmax": path.argmax(1).double(),
            "step_sum": moved.sum(1),
            "step_square": (moved * moved).sum(1),
            "step_max": moved.amax(1),
            "net_sum": net.sum(1),
            "net_square": (net * net).sum(1),
            "square": (w.double() ** 2).sum(1),
            "reference_square": (reference.double() ** 2).sum(1),
            "flips": (w.sign() != reference.sign()).sum(1).double(),
            "nonfinite": (~w.isfinite()).sum(1).double(),
        }
        return path, torch.stack([columns[name] for name in SUMS], dim=1)

    compiled: Callable[..., Any] = torch.compile(sums, dynamic=False)

    def step(state: BlockState, current: torch.Tensor, scratch: Scratch) -> torch.Tensor:
        path, found = compiled(state.reference, state.previous, state.total, current)
        state.total.copy_(path)
        return found  # type: ignore[no-any-return]

    return step


def loaded(path: Path) -> ModuleType:
    """Load another version of `fused.py`; copied, so that it has a cache of its own."""
    spec = importlib.util.spec_from_file_location("baseline_fused", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["baseline_fused"] = module
    spec.loader.exec_module(module)
    return module


def check(walk: Walk) -> None:
    """Fail unless two steps give the sums of the formulas in float64."""
    expected, reference = Walk(walk.state.total.shape[0], through(fused)), walk.state.reference
    for _ in range(2):
        found, total = walk.go().numpy(), walk.state.total.numpy()
        current = expected.states[expected._count % 2]
        wide = BlockState(
            reference.double(),
            walk.state.reference_square,
            expected.state.previous.double(),
            expected.state.total,
        )
        sums = numpy_step(wide, current.double(), Scratch()).numpy()
        expected.state.previous, expected._count = current, expected._count + 1
        np.testing.assert_allclose(total, expected.state.total.numpy(), rtol=1e-6)
        if found.size:
            for column, name in enumerate(SUMS):
                if name != "path_argmax":  # ties of rounding
                    np.testing.assert_allclose(
                        found[:, column], sums[:, column], rtol=1e-6, atol=1e-12, err_msg=name
                    )


def raw_read(elements: int, folder: Path) -> Callable[[], object]:
    """Return what reads the bytes of a block from the page cache, a block further each time."""
    size, path = elements * 4, folder / "raw.bin"
    count = max(1, (256 << 20) // size)  # more than any cache but the page cache holds
    path.write_bytes(np.random.default_rng(0).bytes(size) * count)
    descriptor, buffer, turn = os.open(path, os.O_RDONLY), np.empty(size, np.uint8), iter(())

    def read() -> object:
        nonlocal turn
        block = next(turn, None)
        if block is None:
            turn = iter(range(count))
            block = next(turn)
        return os.preadv(descriptor, [buffer.data], block * size)

    return read


def together(rows: int, steps: int, *, drawn: bool = False) -> Callable[[], object]:
    """Return what takes a block through some steps at once, checked against one by one."""
    chance, shape = np.random.default_rng(0), (rows, SUB_BLOCK)
    start = chance.standard_normal(shape, np.float32) * np.float32(0.05)
    moved = chance.standard_normal((1 + steps, *shape), np.float32) * np.float32(0.002)
    weights = start + moved.cumsum(0) - moved[0]
    weights[0] = start
    (state, _), (alone, _) = (fused.start_block(start.copy()) for _ in range(2))
    planes = np.empty((steps, *shape), np.float32) if drawn else None
    spare = np.empty_like(state.total)
    found, spare = fused.advance(state, weights, spare, planes)
    for step, current in enumerate(weights[1:]):
        expected = fused.measure_step(alone, current)
        alone.previous = current
        assert found[:, step].tobytes() == expected.tobytes(), (steps, step)

    def go() -> object:
        nonlocal spare
        found, spare = fused.advance(state, weights, spare, planes)
        return found

    return go


def several(rows: int, rounds: int) -> dict[str, Any]:
    """Measure the compiled pass by how many steps it takes at once; per weight and step."""
    found = {}
    for steps in (1, 2, 4, 8, 16, 32):
        way = {f"{steps} at once": together(rows, steps)}
        if steps == 16:
            way["16 at once, A_t written as float32"] = together(rows, steps, drawn=True)
        found |= measured(way, steps * rows * SUB_BLOCK, rounds)
    return found


def widenings(elements: int) -> dict[str, Callable[[], object]]:
    """Return what widens a block of each narrower dtype."""
    out, ways = torch.empty(elements), {}
    for dtype in (torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2):
        stored, name = torch.randn(elements).to(dtype), str(dtype).removeprefix("torch.")
        codes = stored.view(torch.uint8).numpy().view(DTYPES[name].code)
        ways[f"{name} as read"] = lambda codes=codes, name=name: widen(codes, name, out.numpy())
        ways[f"{name} by torch"] = lambda stored=stored: out.copy_(stored)
    return ways


def measured(ways: dict[str, Callable[[], object]], elements: int, rounds: int) -> dict[str, Any]:
    """Take the ways in turn; nanoseconds per weight."""
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    calls = max(1, (1 << 22) // elements)
    for _ in range(rounds):
        for name, way in ways.items():
            way()  # the ways before have taken the cache
            start = time.perf_counter()
            for _ in range(calls):
                way()
            times[name].append((time.perf_counter() - start) / calls / elements * 1e9)
    return {n: {"median": statistics.median(t), "least": min(t)} for n, t in times.items()}


def versions(baseline: Path | None, rows: int, notes: list[str]) -> dict[str, Callable[[], object]]:
    """Return every version, checked."""
    steps: dict[str, Step] = {"compiled pass": through(fused)}
    if baseline:
        steps["compiled pass, baseline"] = through(loaded(baseline))
    steps["without a compiler"] = through(fused, is_compiled=False)
    steps |= {"torch": kernels.measure_step, "numpy": numpy_step, "A_t alone, torch": total_alone}
    walks = {}
    for name, step in [*steps.items(), ("torch.compile", None)]:
        try:
            walk = Walk(rows, step or compiled_by_torch())
            check(walk)
        except AssertionError:
            raise
        except Exception as error:  # no compiler, no headers, a platform without inductor
            notes.append(f"{name} skipped: {type(error).__name__}")
            continue
        walks[name] = walk.go
    return walks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--baseline", type=Path, help="another fused.py to compare with")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tiers.FREE_WORK = -1
    facts = {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "torch": torch.__version__,
    }
    notes: list[str] = []
    report: dict[str, Any] = {"facts": facts, "notes": notes}
    with tempfile.TemporaryDirectory(prefix="accweight-") as folder:
        for rows in (4, 16):
            elements = rows * SUB_BLOCK
            ways = versions(options.baseline, rows, notes)
            ways["raw read"] = raw_read(elements, Path(folder))
            found = measured(ways, elements, options.rounds)
            report[f"{elements} weights"] = found
            show(f"blocks of {elements >> 10} Ki weights", found, found["compiled pass"]["least"])
    report["steps"] = several(4, options.rounds)
    show("steps of the compiled pass", report["steps"], report["steps"]["1 at once"]["least"])
    report["rivals"] = measured(rivals(4, 16), 16 * 4 * SUB_BLOCK, 10 * options.rounds)
    show("16 steps at once", report["rivals"], report["rivals"]["SIMD intrinsics"]["least"])
    report["widening"] = measured(widenings(1 << 18), 1 << 18, options.rounds)
    show("widening", report["widening"], None)
    print(*notes, sep="\n")
    options.out.mkdir(exist_ok=True)
    (options.out / "kernel.json").write_text(json.dumps(report, indent=2))
    print("sums of all agree; details in", options.out / "kernel.json")


def show(title: str, found: dict[str, Any], base: float | None) -> None:
    """Print one table."""
    print(f"\n{title:34}{'median':>9}{'least':>9}  ns per weight and step")
    for name, row in found.items():
        ratio = f"{row['least'] / base:8.2f} x" if base else ""
        print(f"  {name:32}{row['median']:9.3f}{row['least']:9.3f}{ratio}")


if __name__ == "__main__":
    main()
