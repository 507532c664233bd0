"""Putting layers back: a convolutional network of ten layers, five steps, 10,000 pictures.

Seven convolutions with batch norm and three linear layers on pictures of 28 x 28; the network is
an ONNX graph, as `accweight rewind` takes it, and a module. Every loss is checked against plain
PyTorch: a module with the layer put back, its statistics computed by `update_bn`.

    python benchmarks/rewind.py                      2,000 pictures
    python benchmarks/rewind.py --size full          10,000 pictures
"""

from __future__ import annotations

import os
import time
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from rounds import Goal, Report, Row, Table, arguments, keep, scratch_folder
from runs import WrongValueError
from torch import nn

SAMPLES = {"smoke": 300, "quick": 2000, "medium": 10_000, "full": 10_000}
STEPS = 5
"""Steps that layers are put back to; the last one comes after them."""

STATISTICS = 1024
"""Samples for the statistics of batch norm, as by default."""

CLOSE = 2e-4
"""Most that a loss may be off, in parts of the largest."""

MOST_SECONDS = 120.0

COLUMNS = (
    ("way", "", ""),
    ("seconds", "s", ".1f"),
    ("process", "process s", ".1f"),
    ("forward", "process s of one pass", ".2f"),
    ("passes", "passes in all", ".1f"),
)

State = dict[str, torch.Tensor]


def network() -> nn.Module:
    """Return seven convolutions with batch norm, and three linear layers."""
    parts: list[tuple[str, nn.Module]] = []
    for place, (a, b) in enumerate(pairwise((1, 16, 16, 16, 32, 32, 32, 32)), start=1):
        parts += [
            (f"conv{place}", nn.Conv2d(a, b, 3, padding=1, bias=False)),
            (f"bn{place}", nn.BatchNorm2d(b)),
            (f"relu{place}", nn.ReLU()),
        ]
        parts += [(f"pool{place}", nn.MaxPool2d(2))] if place in (3, 6) else []
    parts += [("flat", nn.Flatten()), ("fc1", nn.Linear(32 * 49, 64)), ("relu8", nn.ReLU())]
    parts += [("fc2", nn.Linear(64, 64)), ("relu9", nn.ReLU()), ("fc3", nn.Linear(64, 10))]
    return nn.Sequential(OrderedDict(parts))


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy pictures of ten kinds."""
    chance = torch.Generator().manual_seed(0)
    kinds = torch.rand(10, 1, 28, 28, generator=chance)
    labels = torch.randint(10, (count,), generator=chance)
    return kinds[labels] + torch.randn(count, 1, 28, 28, generator=chance), labels


def trained(folder: Path) -> tuple[nn.Module, list[State]]:
    """Train for a few batches; write and return the checkpoints."""
    torch.manual_seed(0)
    module = network()
    steps = torch.optim.SGD(module.parameters(), 0.02, momentum=0.9)
    x, y = pictures(512)
    states = []
    for step in range(STEPS + 1):
        states.append({name: value.clone() for name, value in module.state_dict().items()})
        torch.save(states[-1], folder / f"step_{step}.pt")
        for _ in range(4):
            rows = torch.randint(len(x), (64,))
            loss = nn.functional.cross_entropy(module.train()(x[rows]), y[rows])
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
    module.load_state_dict(states[-1])
    return module.eval(), states


def graph(module: nn.Module, path: Path) -> Path:
    """Write the module as an ONNX graph that has its batch norms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 1, 28, 28),),
            str(path),
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return path


@torch.no_grad()
def pass_seconds(module: nn.Module, x: torch.Tensor) -> float:
    """Return the processor seconds of one plain pass over all samples."""
    began = time.process_time()
    for start in range(0, len(x), 256):
        module(x[start : start + 256])
    return time.process_time() - began


def check(module: nn.Module, states: Sequence[State], found: Any, rows: Any, data: Any) -> None:
    """Compare some losses with plain PyTorch.

    Raises:
        WrongValueError: If one differs.
    """
    x, y = data
    names = found.labels("layer")
    largest = float(found.array("loss").max())
    for layer, step in (("conv1", 0), ("conv5", 2), ("fc2", 1), ("conv7", STEPS - 1)):
        norm = layer.replace("conv", "bn")
        state = {
            name: states[step][name] if name.split(".")[0] in (layer, norm) else value
            for name, value in states[-1].items()
        }
        module.load_state_dict(state)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        batches = [x[rows[start : start + 256]] for start in range(0, len(rows), 256)]
        means = statistics(module.train(), batches)
        for name, value in means.items():
            module.get_buffer(name).copy_(value)
        with torch.no_grad():
            expected = float(nn.functional.cross_entropy(module.eval()(x), y))
        got = float(found.array("loss", step)[names.index(layer)])
        if abs(got - expected) > CLOSE * largest:
            raise WrongValueError(f"{layer} put back to step {step}: {got}, not {expected}")


def statistics(module: nn.Module, batches: Sequence[torch.Tensor]) -> State:
    """Return what came into every batch norm over all batches: mean and variance."""
    came: dict[str, list[tuple[int, torch.Tensor, torch.Tensor]]] = {}
    hooks = [
        part.register_forward_pre_hook(
            lambda _, given, name=name: came.setdefault(name, []).append(
                (len(given[0]), given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), correction=0))
            )
        )
        for name, part in module.named_modules()
        if isinstance(part, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        for batch in batches:
            module(batch)
    for hook in hooks:
        hook.remove()
    found = {}
    for name, several in came.items():
        counts = torch.tensor([count for count, _, _ in several])[:, None]
        mean = sum(n * m for n, m, _ in several) / counts.sum()
        within = sum(n * (v + (m - mean) ** 2) for n, m, v in several) / counts.sum()
        found |= {f"{name}.running_mean": mean, f"{name}.running_var": within}
    return found


def measured(name: str, net: Any, analysis: Path, data: Any, forward: float) -> tuple[Row, Any]:
    """Put all layers back, and return what it took and what came of it."""
    import accweight_core as aw
    from accweight_core.probes.rewinding.rewind import Rewind

    given = tuple(part.numpy() for part in data)
    began, process = time.perf_counter(), time.process_time()
    found = aw.probe(
        analysis, net, given, Rewind(draws=0, statistics=STATISTICS), steps=range(STEPS)
    )["rewind"]
    took, spent = time.perf_counter() - began, time.process_time() - process
    row = {"way": name, "seconds": took, "process": spent, "forward": forward}
    return {**row, "passes": spent / forward}, found


def main(given: Sequence[str] | None = None) -> None:
    """Measure, check, print and keep."""
    import accweight_core as aw
    from accweight_core.probes.context import Context
    from accweight_core.samples.opening import open_samples

    options = arguments(__doc__, given)
    count = SAMPLES[options.size]
    data = pictures(count)
    table = Table(
        f"10 layers put back to {STEPS} steps, {count:,} pictures, {torch.get_num_threads()} "
        f"threads of {os.cpu_count()}",
        COLUMNS,
    )
    with scratch_folder(options) as folder:
        (folder / "run").mkdir()
        module, states = trained(folder / "run")
        forward = pass_seconds(module, data[0])
        context = Context(aw.open_run(folder / "run"), (0,), 0, "rewind")
        context._data = open_samples(tuple(part.numpy() for part in data), ())
        rows = context.random().permutation(context.chosen_rows(STATISTICS))
        for name, net in (
            ("ONNX graph", aw.Network.from_onnx(graph(module, folder / "net.onnx"), engine="onnx")),
            ("module", aw.Network.from_module(module)),
        ):
            analysis = folder / f"{net.engine}.accw"
            aw.analyze(folder / "run", analysis)
            row, found = measured(name, net, analysis, data, forward)
            table.rows.append(row)
            check(network(), states, found, rows, data)
    goals = [
        Goal("seconds for an ONNX graph", table.rows[0]["seconds"], MOST_SECONDS, at_least=False)
    ]
    notes = ["losses are those of plain PyTorch with the layer put back"]
    keep(Report([table], goals if count == SAMPLES["full"] else [], notes), "rewind", options.out)


if __name__ == "__main__":
    main()
