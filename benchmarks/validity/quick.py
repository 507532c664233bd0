"""Train small networks on digits, put their layers back, and tell which metric follows the loss.

    python benchmarks/validity/quick.py -o FOLDER [--seeds 5] [--data mnist.npz]

For each network, optimiser and seed: 21 checkpoints, criticality of every layer at step 0 on
held-out samples (accweight rewind), and its rank correlation with every metric. A finished run is a
file in FOLDER, so that the command goes on where it was stopped. Samples are the 1,797 digits of
scikit-learn unless an .npz with x (samples, 1, height, width) and y is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import accweight_core as aw
from accweight_core.probes.rewinding.prediction import layers_of, predictions
from accweight_core.probes.rewinding.rewind import Rewind

CHECKPOINTS = 20
BATCHES = 20
"""Batches between two checkpoints."""

Array = np.ndarray[Any, np.dtype[Any]]


def dense(inputs: int, side: int) -> nn.Module:
    """Return a network of ten linear layers."""
    widths = [inputs, 64, 64, 64, 64, 64, 64, 64, 64, 64]
    pairs = pairwise(widths)
    parts = [part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *parts, nn.Linear(64, 10))


def convolutional(inputs: int, side: int) -> nn.Module:
    """Return a network of seven convolutions with batch norm, and two linear layers."""
    widths = [1, 16, 16, 16, 32, 32, 32, 32]
    parts: list[nn.Module] = []
    for place, (a, b) in enumerate(pairwise(widths)):
        parts += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        parts += [nn.MaxPool2d(2)] if place in (2, 5) else []
    size = 32 * (side // 4) ** 2
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 10))


NETWORKS: Mapping[str, Callable[[int, int], nn.Module]] = {
    "dense": dense,
    "convolutional": convolutional,
}
OPTIMISERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 2e-3),
}


def initialised(module: nn.Module) -> nn.Module:
    """Return a network with weights after He, so that ten layers without a norm train, too."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return module


def samples(path: Path | None) -> tuple[Array, Array]:
    """Return pictures from 0 to 1 and their classes."""
    if path is not None:
        with np.load(path) as held:
            return held["x"].astype(np.float32), held["y"].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32), labels.astype(np.int64)


def states(module: nn.Module, optimiser: str, x: Array, y: Array) -> Iterator[dict[str, Any]]:
    """Yield the state of a network before training, and after every few batches."""
    steps = OPTIMISERS[optimiser](module.parameters())
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    yield {name: value.clone() for name, value in module.state_dict().items()}
    for _ in range(CHECKPOINTS):
        for _ in range(BATCHES):
            rows = torch.randint(len(x), (64,))
            loss = nn.functional.cross_entropy(module.train()(inputs[rows]), labels[rows])
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
        yield {name: value.clone() for name, value in module.state_dict().items()}


def measured(folder: Path, network: str, optimiser: str, seed: int, x: Array, y: Array) -> Any:
    """Return what one run gives; it is trained and measured unless a file has it."""
    place = folder / f"{network}-{optimiser}-{seed}.json"
    if place.exists():
        return json.loads(place.read_text())
    torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(x))
    held, used = order[: len(x) // 4], order[len(x) // 4 :]
    module = initialised(NETWORKS[network](x[0].size, x.shape[-1]))
    run = aw.open_run(dict(enumerate(states(module, optimiser, x[used], y[used]))))
    analysis = aw.analyze(run, folder / f"{place.stem}.accw", overwrite=True)
    found = aw.probe(
        analysis,
        aw.Network.from_module(module),
        (x[held], y[held]),
        Rewind(),
        steps="first",
        seed=seed,
    )["rewind"]
    layers = layers_of(analysis, found, "loss_rise")
    most = max(layers, key=lambda one: one.lost[0]).layer
    document = {
        "network": network,
        "optimiser": optimiser,
        "seed": seed,
        "accuracy": float(found.array("base_accuracy")[1]),
        "layers": len(layers),
        "found": {
            one.by: max(layers, key=lambda layer: layer.metrics[one.by]).layer == most
            for one in predictions(layers)
        },
        "prediction": [one.to_json() for one in predictions(layers)],
    }
    place.write_text(json.dumps(document))
    return document


def table(runs: list[Any]) -> list[str]:
    """Return a line of Markdown per metric: how it follows criticality over the runs."""
    lines = [
        "| metric | correlation | lowest | runs > 0 | finds the most critical layer |",
        "|---|--:|--:|--:|--:|",
    ]
    by: dict[str, list[float]] = {}
    for run in runs:
        for one in run["prediction"]:
            if one["spearman"] is not None:
                by.setdefault(one["by"], []).append(one["spearman"])
    for name, values in sorted(by.items(), key=lambda item: -float(np.mean(item[1]))):
        hits = sum(run["found"][name] for run in runs)
        positive = sum(value > 0 for value in values)
        lines.append(
            f"| `{name}` | {np.mean(values):.2f} | {min(values):.2f} | "
            f"{positive}/{len(values)} | {hits}/{len(runs)} |"
        )
    return lines


def main() -> None:
    """Train, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    x, y = samples(asked.data)
    runs = []
    for seed in range(asked.seeds):
        for network in NETWORKS:
            for optimiser in OPTIMISERS:
                runs.append(measured(asked.out, network, optimiser, seed, x, y))
                one = runs[-1]
                print(f"{network} {optimiser} {seed}: accuracy {one['accuracy']:.3f}", flush=True)
    print("\n".join(["", *table(runs)]))
    for network in NETWORKS:
        some = [run for run in runs if run["network"] == network]
        print("\n".join(["", f"{network}, {some[0]['layers']} layers:", "", *table(some)]))


if __name__ == "__main__":
    main()
