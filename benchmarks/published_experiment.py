"""The published experiment on MNIST, repeated: does the order of the layers come out again?

A CNN of two convolutional and two fully connected layers, one checkpoint per epoch, cumulative
change per weight. The publication gives figures but no optimiser, learning rate, number of
epochs or widths; the settings here were found by the search recorded in
``published_search.jsonl`` (run ``published_search.py --report``), chosen on seed 0 alone. This
script trains several seeds, analyses the checkpoint files like any user would, and prints
both tables side by side with what reproduces and what does not.

    python benchmarks/published_experiment.py FOLDER     FOLDER: the MNIST idx files
    python benchmarks/published_experiment.py FOLDER --seeds 1 --epochs 1     a quick look
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import accweight_core as aw
from accweight_adapters.demo.experiment import PUBLISHED, Digits, mnist, train

LAYERS = ("conv1", "conv2", "fc1", "fc2")
PAPER_MEAN = {"conv1": 0.2605, "conv2": 0.0900, "fc1": 0.0268}
PAPER_MAX = {"conv2": 0.1188, "fc1": 0.3977, "fc2": 0.6575}
Figures = dict[str, dict[str, float]]


def trained(digits: Digits, seed: int, epochs: int) -> tuple[float, Figures]:
    """Train one seed, analyse its checkpoints; return accuracy and figures per layer."""
    with tempfile.TemporaryDirectory(prefix="accweight-") as folder:
        accuracy = train(digits, PUBLISHED, Path(folder), epochs=epochs, seed=seed)
        analysis = aw.analyze(aw.open_run(folder))
    ranking = analysis.ranking().set_index("layer")
    return accuracy[-1], {
        "mean": {name: float(ranking.loc[name, "mean"]) for name in LAYERS},
        "max": {name: float(ranking.loc[name, "max"]) for name in LAYERS},
    }


def claims(figures: Figures) -> dict[str, bool]:
    """Return which statements of the publication hold."""
    mean, largest = figures["mean"], figures["max"]
    return {
        "mean of conv1 is the highest": mean["conv1"] == max(mean.values()),
        "means fall from conv1 to conv2 to fc1": mean["conv1"] > mean["conv2"] > mean["fc1"],
        "mean of fc1 is the lowest": mean["fc1"] == min(mean.values()),
        "fc1 is nearly ten times below conv1 (8 to 12)": 8 <= mean["conv1"] / mean["fc1"] <= 12,
        "the most changed weight is in fc2": largest["fc2"] == max(largest.values()),
        "the largest change in fc1 is above that in conv2": largest["fc1"] > largest["conv2"],
    }


def main() -> None:
    """Train, compare, say plainly what reproduces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the four MNIST idx files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=PUBLISHED.epochs)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    digits = mnist(options.data)
    print(f"settings: {PUBLISHED}; {options.epochs} epochs\n")
    print(f"{'':12}{'accuracy':>9}" + "".join(f"{'mean ' + n:>12}" for n in LAYERS), end="")
    print("".join(f"{'max ' + n:>11}" for n in LAYERS))
    results = []
    for seed in range(options.seeds):
        accuracy, figures = trained(digits, seed, options.epochs)
        results.append((accuracy, figures))
        row(f"seed {seed}", accuracy, figures)
    middle: Figures = {
        kind: {n: statistics.median(f[kind][n] for _, f in results) for n in LAYERS}
        for kind in ("mean", "max")
    }
    row("median", statistics.median(a for a, _ in results), middle)
    row("published", None, {"mean": PAPER_MEAN, "max": PAPER_MAX})
    verdict(results, middle)
    options.out.mkdir(exist_ok=True)
    record = [{"seed": s, "accuracy": a, **f} for s, (a, f) in enumerate(results)]
    (options.out / "published_experiment.json").write_text(json.dumps(record, indent=2))


def row(name: str, accuracy: float | None, figures: Figures) -> None:
    """Print one line of the table; what is not stated is left open."""
    cells = [f"{accuracy:9.4f}" if accuracy is not None else f"{'-':>9}"]
    for kind, width in (("mean", 12), ("max", 11)):
        for layer in LAYERS:
            value = figures[kind].get(layer)
            cells.append(f"{value:{width}.4f}" if value is not None else f"{'-':>{width}}")
    print(f"{name:12}" + "".join(cells), flush=True)


def verdict(results: list[tuple[float, Figures]], middle: Figures) -> None:
    """Say which statements and which figures reproduce."""
    print("\nstatements, and the seeds in which they hold:")
    held = [claims(figures) for _, figures in results]
    for name in held[0]:
        count = sum(claim[name] for claim in held)
        print(f"  {count} of {len(held)}  {name}")
    print("\nfigures, median over seeds against published:")
    for kind, paper in (("mean", PAPER_MEAN), ("max", PAPER_MAX)):
        for layer, value in paper.items():
            ratio = middle[kind][layer] / value
            close = "close" if 0.8 <= ratio <= 1.25 else "does not reproduce"
            print(f"  {kind:4} {layer:6} {middle[kind][layer]:.4f} against {value:.4f}"
                  f"  ({ratio:.2f} times: {close})")  # fmt: skip


if __name__ == "__main__":
    main()
