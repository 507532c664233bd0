"""The recorded search for settings that reproduce the published MNIST experiment.

The publication reports, for a CNN of two convolutional and two fully connected layers, the
cumulative change of every weight over the per-epoch checkpoints, but not the settings it was
trained with. This script trains a grid of textbook settings and appends to
``published_search.jsonl`` what each gives after every epoch, under both readings of the
reference: ``init`` starts the sum at the initial weights, ``first`` at the checkpoint after the
first epoch. A trial that is recorded is not run again.

    python benchmarks/published_search.py --report               rank what is recorded
    python benchmarks/published_search.py --stage narrow --data FOLDER    and full, detail, seeds
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from published_figures import LAYERS, REFERENCES, claims
from published_settings import BEST, BEST_EPOCH, STAGES, Settings
from published_trial import Mnist, run_trial


def key(settings: dict[str, Any], seed: int) -> str:
    """Return what tells one trial from another."""
    return json.dumps([settings, seed], sort_keys=True)


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return the trials recorded at `path`; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def search(stage: str, data: Mnist, path: Path, limit: float) -> None:
    """Run what is left of `stage`; start no trial once `limit` seconds are over."""
    grid, seeds = STAGES[stage]
    done = {key(trial["settings"], trial["seed"]) for trial in read_record(path)}
    start = time.perf_counter()
    for settings in grid:
        for seed in seeds:
            if key(asdict(settings), seed) in done:
                continue
            if time.perf_counter() - start > limit:
                print("out of time; run the same command again to go on")
                return
            trial = {"stage": stage, **run_trial(settings, seed, data)}
            with path.open("a") as stream:
                stream.write(json.dumps(trial, separators=(",", ":")) + "\n")
            print(describe(trial), flush=True)


def best_entry(trial: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the epoch and the reference whose score is the lowest."""
    found = ((entry, name) for entry in trial["epochs"] for name in REFERENCES if name in entry)
    return min(found, key=lambda pair: pair[0][pair[1]]["score"])


def best_score(trial: dict[str, Any]) -> float:
    """Return the lowest score of `trial`."""
    entry, reference = best_entry(trial)
    return float(entry[reference]["score"])


def describe(trial: dict[str, Any]) -> str:
    """Return one line on `trial`, at the epoch and reference that fit best."""
    entry, reference = best_entry(trial)
    held = claims(entry[reference])
    settings = trial["settings"]
    options = [settings["architecture"], settings["optimizer"], f"lr={settings['lr']:g}"]
    options += [f"m={settings['momentum']:g}", f"b={settings['batch_size']}"]
    options += [settings["normalize"], f"dropout={settings['dropout']}"]
    options += [f"gamma={settings['gamma']:g}"] if settings["gamma"] != 1 else []
    options += [f"n={settings['images']}"] if settings["images"] != 60_000 else []
    means = " ".join(f"{value:.4f}" for value in entry[reference]["mean"])
    largest = " ".join(f"{value:.4f}" for value in entry[reference]["max"])
    return (
        f"{entry[reference]['score']:6.3f} claims={sum(held.values())}/{len(held)} "
        f"epoch={entry['epoch']:2d}/{settings['epochs']} {reference:5s} "
        f"acc={entry['accuracy']:.4f} mean {means} max {largest} | {' '.join(options)} "
        f"seed={trial['seed']} {trial['seconds']:.0f}s"
    )


def report_seeds(trials: list[dict[str, Any]], settings: Settings, epoch: int) -> None:
    """Print what every seed gives with `settings` at `epoch`, and how many hold each claim."""
    chosen = [trial for trial in trials if trial["settings"] == asdict(settings)]
    chosen.sort(key=lambda trial: trial["seed"])
    for reference in REFERENCES:
        print(f"\n{settings.architecture}, after {epoch} epochs, reference {reference!r}")
        print("seed  accuracy  mean of " + " ".join(LAYERS) + "  max of the same  score")
        held: Counter[str] = Counter()
        for trial in chosen:
            entry = trial["epochs"][epoch - 1]
            figures = entry[reference]
            numbers = "  ".join(f"{value:.4f}" for value in figures["mean"] + figures["max"])
            print(f"{trial['seed']:4d}  {entry['accuracy']:.4f}  {numbers}  {figures['score']:.3f}")
            held.update(name for name, holds in claims(figures).items() if holds)
        for name in claims(chosen[0]["epochs"][epoch - 1][reference]):
            print(f"  {held[name]} of {len(chosen)} seeds  {name}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stage", choices=STAGES, default="narrow")
    parser.add_argument("--report", action="store_true", help="rank the record; train nothing")
    parser.add_argument("--data", type=Path, help="folder with the MNIST idx files")
    parser.add_argument("--record", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds")
    arguments = parser.parse_args()
    if arguments.report:
        for trial in sorted(read_record(arguments.record), key=best_score):
            print(describe(trial))
        for settings in BEST:
            report_seeds(read_record(arguments.record), settings, BEST_EPOCH)
        return
    if arguments.data is None:
        parser.error("training needs --data FOLDER")
    torch.set_num_threads(1)
    search(arguments.stage, Mnist(arguments.data), arguments.record, arguments.limit)


if __name__ == "__main__":
    main()
