"""Measure probes: a step with all that run forward against one plain pass, and a whole run.

    OMP_NUM_THREADS=1 python benchmarks/probes.py --size full
    python benchmarks/probes.py --size smoke

The network is a CNN with batch norm for pictures of 28 x 28, as a module, as an ONNX graph run by
torch operations, and by ONNX Runtime if it is installed. The samples are blurred noise in ten
classes. What is compared is processor seconds, so that other work on the machine counts little.
Beside it stands what `trajectory` costs in the walk of an analysis, and after it. Values are
checked: loss and activations are those of the module itself.
"""

from __future__ import annotations

import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import (
    Goal,
    Report,
    Row,
    Table,
    arguments,
    in_turn,
    keep,
    median,
    ratios,
    scratch_folder,
)
from torch import nn

import accweight_core as aw
from accweight_core.accumulate.grams import Grams

FORWARD = ("evaluate", "activations", "embedding", "neighbors", "representation")
EVERYTHING = (
    *FORWARD, "trajectory", "filters", "attribution", "attribution:method=integrated",
    "feature_visualization", "unit_saliency",
)  # fmt: skip

SIZES = {"smoke": (40, 2), "quick": (1000, 4), "medium": (10_000, 4), "full": (10_000, 20)}
"""Samples, and checkpoints."""

WALKED = {"smoke": (1 << 12, 3), "quick": (1 << 21, 10), "medium": (1 << 23, 10),
          "full": (1 << 24, 20)}  # fmt: skip
"""Weights and checkpoints of the run that is walked for its path."""

MOST_PASSES = 2.0
"""Asked for: passes that a step with all forward probes may cost."""

STEP_COLUMNS = (
    ("way", "", "s"), ("pass", "plain pass, s", ".2f"), ("step", "a step, s", ".2f"),
    ("own", "of its pass", ".2f"), ("ratio", "of the module's pass", ".2f"),
)  # fmt: skip
RUN_COLUMNS = (("way", "", "s"), ("cpu", "processor s", ".1f"), ("clock", "clock s", ".1f"))
WALK_COLUMNS = (
    ("way", "", "s"), ("ns", "ns per weight, checkpoint", ".2f"),
    ("ratio", "of the analysis alone", ".2f"),
)  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]


class Network(nn.Sequential):
    """A CNN with batch norm, 106 thousand weights."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip


def samples(count: int) -> tuple[Array, Array]:
    """Return pictures of ten classes, and the class of each."""
    chance = np.random.default_rng(0)
    labels = np.arange(count) % 10
    centres = chance.random((10, 1, 28, 28), np.float32)
    noise = chance.random((count, 1, 28, 28), np.float32)
    return centres[labels] * 0.5 + noise * 0.5, labels


def trained(folder: Path, x: Array, y: Array, steps: int) -> list[nn.Module]:
    """Train the network a little, save its state at every step, and return all of them."""
    torch.manual_seed(0)
    net: nn.Module = Network()
    found: list[nn.Module] = []
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    folder.mkdir(parents=True)
    for step in range(steps):
        torch.save(net.state_dict(), folder / f"step_{step}.pt")
        module = Network()
        module.load_state_dict(net.state_dict())
        found.append(module.eval())
        chosen = slice(step * 64 % len(x), step * 64 % len(x) + 64)
        loss = nn.functional.cross_entropy(
            net(torch.from_numpy(x[chosen])), torch.from_numpy(y[chosen])
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return found


def networks(module: nn.Module, path: Path, *, all_engines: bool = True) -> dict[str, aw.Network]:
    """Return the network by every engine that is installed; the first is the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter itself
        torch.onnx.export(
            module, (torch.zeros(2, 1, 28, 28),), path, dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "n"}}, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # batch norm stays apart
        )  # fmt: skip
    found = {"module": aw.Network.from_module(module), "ONNX graph": aw.Network.from_onnx(path)}
    if all_engines and importlib.util.find_spec("onnxruntime"):
        found["ONNX Runtime"] = aw.Network.from_onnx(path, engine="ort")
    return found


def plain_pass(module: nn.Module, x: Array, size: int = 256) -> Array:
    """Return the output for all samples, in batches."""
    with torch.no_grad():
        parts = [module(torch.from_numpy(x[i : i + size])) for i in range(0, len(x), size)]
    return torch.cat(parts).numpy()


def engine_pass(network: aw.Network, x: Array, size: int = 256) -> None:
    """Run all samples through a network with its own weights, in batches."""
    bound = network.with_weights({})
    for i in range(0, len(x), size):
        bound.run({network.inputs[0].name: x[i : i + size]})


def seconds(work: Callable[[], Any]) -> float:
    """Return the processor seconds of some work."""
    before = time.process_time()
    work()
    return time.process_time() - before


def steps_table(
    folder: Path, x: Array, y: Array, modules: Sequence[nn.Module], rounds: int
) -> tuple[Table, list[Goal]]:
    """Return what a step with all forward probes costs by each engine, and the goals."""
    is_test = len(x) < 100
    engines = networks(modules[-1], folder / "net.onnx", all_engines=not is_test)
    few = min(4, len(modules))

    def step(network: aw.Network) -> float:
        """Return what a step costs: that of several, each beyond the first."""
        several = []
        for chosen in ([0], list(range(few))):
            out = folder / f"{len(list(folder.iterdir()))}.accw"
            aw.analyze(aw.open_run(folder / "run"), out)
            begun = time.process_time()
            found = aw.probe(out, network, (x, y), FORWARD, steps=chosen)
            several.append(time.process_time() - begun)
            check(found, modules, x, y)
        return (several[1] - several[0]) / (few - 1)

    ways: dict[str, Callable[[], float]] = {
        "module's pass": lambda: seconds(lambda: plain_pass(modules[0], x))
    }
    for name, network in engines.items():
        if not is_test:
            step(network)  # imports, and what is compiled once
        ways[f"{name}: pass"] = lambda own=network: seconds(lambda: engine_pass(own, x))
        ways[f"{name}: step"] = lambda own=network: step(own)
    found, rows = in_turn(ways, rounds), list[Row]()
    for name in engines:
        took, own = found[f"{name}: step"], found[f"{name}: pass"]
        of_module = median(ratios(took, found["module's pass"]))
        rows.append({"way": name, "pass": median(own), "step": median(took),
                     "own": median(ratios(took, own)), "ratio": of_module})  # fmt: skip
    plain = median(found["module's pass"])
    title = (
        f"a step of {len(x)} pictures with {', '.join(FORWARD)}; a plain pass of the module takes "
        f"{plain:.2f} s"
    )
    goals = [
        Goal(f"all forward probes, {row['way']}: of one plain pass", row["ratio"], MOST_PASSES,
             at_least=False)
        for row in rows
    ]  # fmt: skip
    return Table(title, STEP_COLUMNS, rows), goals


def run_table(folder: Path, x: Array, y: Array, modules: Sequence[nn.Module]) -> Table:
    """Return what a run with all probes costs, once by each engine that has gradients."""
    rows = []
    engines = networks(modules[-1], folder / "run.onnx", all_engines=False)
    for name, network in list(engines.items())[len(x) < 100 :]:
        out = folder / f"everything {network.engine}.accw"
        aw.analyze(aw.open_run(folder / "run"), out)
        start, cpu = time.perf_counter(), time.process_time()
        found = aw.probe(out, network, (x, y), EVERYTHING)
        rows.append({"way": name, "cpu": time.process_time() - cpu,
                     "clock": time.perf_counter() - start})  # fmt: skip
        check(found, modules, x, y)
    title = f"{len(modules)} checkpoints, {len(x)} pictures, with {', '.join(EVERYTHING[5:])} too"
    return Table(title, RUN_COLUMNS, rows)


def walk_table(folder: Path, weights: int, steps: int, rounds: int) -> Table:
    """Return what `trajectory` costs beside an analysis, on one thread."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    state = chance.standard_normal((8, weights // 8), np.float32)
    for step in range(steps):
        state = state + np.float32(0.01) * chance.standard_normal(state.shape, np.float32)
        np.savez(folder / f"step_{step}.npz", **{f"fc{at}.weight": w.reshape(64, -1)
                                                 for at, w in enumerate(state)})  # fmt: skip
    run, count = aw.open_run(folder), weights // 8 * 8 * steps

    def way(*, observed: bool, after: bool) -> float:
        out = folder / f"{len(list(folder.iterdir()))}.accw"
        grams = Grams(steps) if observed else None
        how = {"threads": 1, "picture_budget_bytes": 0, "observer": grams}
        begun = time.process_time()
        analysis = aw.analyze(run, out, **how)  # type: ignore[arg-type]
        if observed or after:
            found = aw.probe(analysis, probes="trajectory", grams=grams)["trajectory"]
            moved = (state - first(folder)).astype(np.float64)
            if not np.isclose(found.array("displacement")[-1], np.linalg.norm(moved), rtol=1e-9):
                raise SystemExit("the displacement is not that of the weights")
        return (time.process_time() - begun) / count * 1e9

    def first(folder: Path) -> Array:
        with np.load(folder / "step_0.npz") as stored:
            return np.stack([stored[f"fc{at}.weight"].reshape(-1) for at in range(8)])

    ways: Mapping[str, Callable[[], float]] = {
        "the analysis alone": lambda: way(observed=False, after=False),
        "with trajectory, in the same walk": lambda: way(observed=True, after=False),
        "with trajectory, after it": lambda: way(observed=False, after=True),
    }
    in_turn(ways, 1)
    found = in_turn(ways, rounds)
    alone = found["the analysis alone"]
    rows = [{"way": name, "ns": median(took), "ratio": median(ratios(took, alone))}
            for name, took in found.items()]  # fmt: skip
    title = (
        f"{steps} checkpoints of {count / steps / 1e6:.1f}M cached weights, without pictures, one "
        "thread, processor time"
    )
    return Table(title, WALK_COLUMNS, rows)


def check(found: Any, modules: Sequence[nn.Module], x: Array, y: Array) -> None:
    """Hold results against the module itself at the last step that they have.

    Raises:
        SystemExit: If they differ.
    """
    for result in found.values():
        step = int(result.steps[-1])
        if result.name == "evaluate":
            scores = torch.from_numpy(plain_pass(modules[step], x))
            loss = float(nn.functional.cross_entropy(scores, torch.from_numpy(y)))
            if abs(loss - result.array("loss")[-1]) > 1e-4 * abs(loss):
                raise SystemExit(f"loss is {result.array('loss')[-1]}, expected {loss}")
        if result.name == "activations":
            output = plain_pass(modules[step], x)
            place = result.labels("layer").index("11")
            if abs(output.mean() - result.array("mean")[-1][place]) > 1e-4:
                raise SystemExit("the mean of the last layer is not that of the module")


def measured(folder: Path, size: str, rounds: int) -> Report:
    """Measure steps, a run and the walk in a folder."""
    torch.set_num_threads(1)
    count, steps = SIZES[size]
    x, y = samples(count)
    modules = trained(folder / "run", x, y, steps)
    table, goals = steps_table(folder, x, y, modules, rounds)
    whole = run_table(folder, x, y, modules)
    walk = walk_table(folder / "walk", *WALKED[size], rounds)
    load = f"load {os.getloadavg()[0]:.1f}; one thread of torch, processor seconds, medians"
    return Report([table, whole, walk], goals, [load, "values are those of the module"])


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    options = arguments(__doc__, given)
    with scratch_folder(options) as folder:
        keep(measured(folder, options.size, options.rounds), "probes", options.out)


if __name__ == "__main__":
    main()
