"""One run or not? The figures behind the warning about restarts and foreign checkpoints.

Trains small networks on real digits in the ways that people train (steady, with a large
learning rate, with drops, warm restarts, fine-tuning, uneven checkpoints, from tiny and from
large initial weights) and splices runs together in the ways that folders go wrong (restart
with another seed, restart with the same seed, a foreign checkpoint in the middle, another
run's tail). Prints, per run, the extreme values of each figure and the steps that are reported;
fails if an honest run is reported or a spliced one is not. Then the same for networks of small
matrices (`small_runs`), as rates: there, honest runs that are reported are failures, and spliced
ones that are missed are counted.

    python benchmarks/continuity.py [FOLDER ...]      FOLDERs: more runs that are known honest
    python benchmarks/continuity.py --small-only --seeds 32
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from small_runs import plans, spliced, trained
from torch import Tensor, nn

import accweight_core as aw
from accweight_adapters.demo.experiment import Digits, sklearn_digits
from accweight_core.analysis.continuity import breaks, signals

Weights = dict[str, Tensor]


def cnn() -> nn.Module:
    """A CNN with batch norm."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def mlp() -> nn.Module:
    """A plain multi-layer perceptron."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip


class Recurrent(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 48, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.lstm(images[:, 0])[0][:, -1])


class Attentive(nn.Module):
    """A transformer encoder over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.encoder(self.embed(images[:, 0])).mean(1))


def train(
    model: nn.Module,
    digits: Digits,
    rates: list[float],
    *,
    optimizer: str = "adam",
    seed: int = 0,
) -> Iterator[Weights]:
    """Train with one learning rate per epoch; yield the weights before and after each."""
    order = torch.Generator().manual_seed(seed)
    make: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
        "adamw": lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.1),
    }
    steps = make[optimizer](model.parameters(), lr=rates[0])
    yield copied(model)
    for rate in rates:
        steps.param_groups[0]["lr"] = rate
        for batch in torch.randperm(len(digits.images), generator=order).split(32):
            steps.zero_grad()
            loss = nn.functional.cross_entropy(model(digits.images[batch]), digits.labels[batch])
            loss.backward()
            steps.step()
        yield copied(model)


def copied(model: nn.Module) -> Weights:
    """Return a copy of the weights."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def fresh(kind: Callable[[], nn.Module], seed: int, scale: float = 1.0) -> nn.Module:
    """Return a new network, its initial weights times `scale`."""
    torch.manual_seed(seed)
    model = kind()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def honest_runs(digits: Digits) -> dict[str, list[Weights]]:
    """Return runs that must not be reported."""
    cosine = [0.003 * (1 + math.cos(math.pi * (e % 6) / 6)) / 2 + 1e-5 for e in range(12)]
    plans: dict[str, tuple[Callable[[], nn.Module], list[float], str, float]] = {
        "cnn steady adam 1e-3": (cnn, [1e-3] * 12, "adam", 1),
        "cnn steady adam 1e-2": (cnn, [1e-2] * 12, "adam", 1),
        "cnn sgd 0.1": (cnn, [0.1] * 12, "sgd", 1),
        "cnn drop 10x": (cnn, [0.05] * 6 + [0.005] * 6, "sgd", 1),
        "cnn drop 100x": (cnn, [0.05] * 6 + [0.0005] * 6, "sgd", 1),
        "cnn warm restarts": (cnn, cosine, "adam", 1),
        "cnn warm-up": (cnn, [1e-5, 1e-4, 1e-3, 1e-2] + [3e-3] * 8, "adam", 1),
        "cnn adamw strong decay": (cnn, [1e-2] * 12, "adamw", 1),
        "mlp adam 1e-3": (mlp, [1e-3] * 12, "adam", 1),
        "mlp adam 1e-2": (mlp, [1e-2] * 12, "adam", 1),
        "mlp sgd 0.2": (mlp, [0.2] * 12, "sgd", 1),
        "mlp tiny start": (mlp, [1e-3] * 12, "adam", 0.1),
        "mlp tiny start, adam 1e-2": (mlp, [1e-2] * 12, "adam", 0.1),
        "mlp large start": (mlp, [1e-3] * 12, "adam", 4),
        "lstm adam 3e-3": (Recurrent, [3e-3] * 12, "adam", 1),
        "lstm adam 1e-2": (Recurrent, [1e-2] * 12, "adam", 1),
        "transformer adam 1e-3": (Attentive, [1e-3] * 12, "adam", 1),
        "transformer adam 1e-2": (Attentive, [1e-2] * 12, "adam", 1),
        "cnn long, 40 epochs": (cnn, [3e-3] * 40, "adam", 1),
    }
    runs = {
        name: list(train(fresh(kind, 1, scale), digits, rates, optimizer=optimizer))
        for name, (kind, rates, optimizer, scale) in plans.items()
    }
    long = runs["cnn long, 40 epochs"]
    runs["cnn long, steps 0 1 2 5 10 20 40"] = [long[i] for i in (0, 1, 2, 5, 10, 20, 40)]
    runs["cnn long, first and last"] = [long[0], long[40]]
    runs["cnn long, from epoch 20"] = long[20:]
    model = fresh(cnn, 1)
    model.load_state_dict(runs["cnn steady adam 1e-3"][-1])
    model[-1].reset_parameters()
    other = Digits(
        "half", digits.images[::2], digits.labels[::2] // 2, digits.images, digits.labels
    )
    runs["cnn fine-tuned, new head"] = list(train(model, other, [1e-3] * 3 + [1e-4] * 5))
    return runs


BASES: tuple[tuple[str, Callable[[], nn.Module], list[float], str], ...] = (
    ("cnn steady adam 1e-3", cnn, [1e-3] * 6, "adam"),
    ("cnn drop 10x", cnn, [0.05] * 6, "sgd"),
    ("mlp adam 1e-3", mlp, [1e-3] * 6, "adam"),
    ("lstm adam 3e-3", Recurrent, [3e-3] * 6, "adam"),
    ("transformer adam 1e-3", Attentive, [1e-3] * 6, "adam"),
)


def spliced_runs(
    runs: dict[str, list[Weights]], digits: Digits
) -> dict[str, tuple[list[Weights], set[int]]]:
    """Return runs put together wrongly, with the positions that ought to be reported."""
    result = {}
    for name, kind, rates, how in BASES:
        base = runs[name][:9]
        other = list(train(fresh(kind, 7), digits, rates, optimizer=how, seed=7))
        again = list(train(fresh(kind, 1), digits, rates, optimizer=how, seed=7))
        result[f"{name} | restart, other seed"] = (base + other, {9})
        result[f"{name} | restart, same seed"] = (base + again, {9})
        result[f"{name} | foreign in the middle"] = ([*base[:4], other[4], *base[5:]], {4, 5})
        result[f"{name} | another run's tail"] = (base[:6] + other[4:], {6})
        result[f"{name} | foreign first"] = ([other[0], *base], {1})
        result[f"{name} | foreign last"] = ([*base, other[-1]], {9})
    return result


def hard_runs(
    runs: dict[str, list[Weights]], digits: Digits
) -> dict[str, tuple[list[Weights], set[int]]]:
    """Return splices that can be missed, because both parts share their initial weights."""
    result = {}
    for name, kind, rates, how in BASES:
        base = runs[name][:9]
        again = list(train(fresh(kind, 1), digits, rates, optimizer=how, seed=7))
        result[f"{name} | same seed, no epoch 0"] = (base[1:] + again[1:], {8})
        result[f"{name} | sibling in the middle"] = ([*base[:4], again[6], *base[5:]], {4, 5})
    return result


def judged(name: str, checkpoints: list[Weights] | aw.Run, expected: set[int]) -> bool:
    """Print the figures of one run; return whether it was judged rightly."""
    run = checkpoints if isinstance(checkpoints, aw.Run) else aw.open_run(checkpoints)
    analysis = aw.analyze(run)
    figures = signals(analysis.header, analysis.values)
    reported = {analysis.step_index(b.step) for b in breaks(analysis.header, analysis.values)}
    right = bool(reported & expected) and reported <= expected if expected else not reported
    print(
        f"{'ok ' if right else 'BAD'} {name:46} alignment {np.nanmin(figures.alignment[1:]):6.3f}"
        f"  kept {np.nanmin([1.0, *figures.kept]):5.2f}  reported {sorted(reported) or '-'}"
    )
    return right


def judged_small(seeds: int) -> bool:
    """Print how often small runs are reported, by size; return whether no honest one is."""
    reported: dict[int, Counter[str]] = defaultdict(Counter)
    judged: dict[int, Counter[str]] = defaultdict(Counter)
    for number, plan in enumerate(plans()):
        size = plan.depth * plan.width**2
        sides = [trained(plan, seeds, 2 * number + side) for side in (0, 1)]
        cases = [("honest", run) for side in sides for run in side]
        for pair in zip(*sides, strict=False):
            cases += spliced(*pair).items()
        for case, run in cases:
            judged[size][case] += 1
            reported[size][case] += bool(aw.analyze(run).header.warnings)
    names = list(dict.fromkeys(case for counts in judged.values() for case in counts))
    print(f"{'weights':>8}" + "".join(f"{name:>24}" for name in names))
    for size in sorted(judged):
        cells = [f"{reported[size][name]} of {judged[size][name]}" for name in names]
        print(f"{size:8}" + "".join(f"{cell:>24}" for cell in cells))
    return not any(counts["honest"] for counts in reported.values())


def main() -> int:
    """Judge all runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="runs that are known honest")
    parser.add_argument("--small-only", action="store_true", help="networks of small matrices only")
    parser.add_argument("--seeds", type=int, default=8, help="seeds per way to train a small one")
    options = parser.parse_args()
    if options.small_only:
        return int(not judged_small(options.seeds))
    digits = sklearn_digits()
    honest = honest_runs(digits)
    print("honest runs: nothing must be reported")
    verdicts = [judged(name, run, set()) for name, run in honest.items()]
    verdicts += [judged(str(f), aw.open_run(f), set()) for f in options.folders]
    print("\nspliced runs: the splice must be reported")
    verdicts += [judged(n, run, at) for n, (run, at) in spliced_runs(honest, digits).items()]
    print("\nsplices of siblings: may be missed, and count for nothing below")
    hard = [judged(n, run, at) for n, (run, at) in hard_runs(honest, digits).items()]
    print(
        f"\n{sum(verdicts)} of {len(verdicts)} judged rightly; siblings: {sum(hard)} of {len(hard)}"
    )
    print("\nnetworks of small matrices: reported, of all runs of a kind")
    verdicts.append(judged_small(options.seeds))
    return int(not all(verdicts))


if __name__ == "__main__":
    sys.exit(main())
