"""Is it true? Metrics against criticality, rules of advice against chance, interventions.

    python benchmarks/validity/validity.py -o FOLDER --quick        two tasks, two seeds: minutes
    python benchmarks/validity/validity.py -o FOLDER                all five, five seeds: an hour
    python benchmarks/validity/validity.py -o FOLDER --told         tables of what is there

Trains small networks, puts their layers back (rewind), and trains anew what advice names. What is
finished is a file in FOLDER, so that the command goes on where it was stopped; several may run at
once if each has its own seeds (--seeds 0 1). Pictures are the digits of scikit-learn, or those of
an .npz with x (samples, 1, height, width) and y, as MNIST (--data).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from claims import Document, facts
from interventions import Interventions
from movement import runs
from tables import (
    against,
    firing,
    has_learned,
    interventions,
    movement,
    null_band,
    rules,
)
from tasks import TASKS

QUICK_TASKS, QUICK_SEEDS = ("dense", "lstm"), (0, 1)
SEEDS = (0, 1, 2, 3, 4)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="two tasks, two seeds")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--only", choices=("movement", "interventions"))
    parser.add_argument("--data", type=Path, help=".npz of other pictures")
    parser.add_argument("--told", action="store_true", help="measure nothing, print the tables")
    options = parser.parse_args(given)
    options.tasks = options.tasks or (QUICK_TASKS if options.quick else list(TASKS))
    options.seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    return options


def measure(options: argparse.Namespace) -> None:
    """Train and measure what has not been yet."""
    options.out.mkdir(parents=True, exist_ok=True)
    for run in runs(options.out, options.tasks, options.seeds, options.data):
        document = run.measured()
        print(f"{run.name}: accuracy {document['accuracy'][-1]:.3f}", flush=True)
        if options.only != "movement" and has_learned(document):
            print(f"  {len(Interventions(run, document).measured())} trained anew", flush=True)


def told(folder: Path) -> Iterator[str]:
    """Yield the tables of all runs in a folder."""
    paths = sorted(path for path in folder.glob("*.json") if ".trained" not in path.name)
    everything: list[Document] = [json.loads(path.read_text()) for path in paths]
    documents = [one for one in everything if has_learned(one)]
    yield f"{len(everything)} runs, of which {len(everything) - len(documents)} have not learned"
    for task in (None, *TASKS):
        some = [one for one in documents if task in (None, one["task"])]
        if some:
            one, mean = null_band(some)
            sizes = sorted({len(document["metrics"]) for document in some})
            yield f"\n## {task or 'all tasks'}: {len(some)} runs of {sizes} layers"
            yield f"random order: one run +-{one:.2f}, the mean +-{mean:.2f}\n"
            yield from movement(some)
    known = [(one, facts(folder, one, with_rewind=False)) for one in documents]
    rewound = [(one, facts(folder, one, with_rewind=True)) for one in documents]
    yield "\n## where rules hold\n"
    yield from firing(known, rewound)
    yield "\n## claims, on held-out tasks\n"
    yield from rules(known)
    yield from _trained(folder, documents)


def _trained(folder: Path, documents: Sequence[Document]) -> Iterator[str]:
    pairs: list[tuple[Document, Any]] = []
    for one in documents:
        path = folder / f"{one['task']}-{one['optimiser']}-{one['seed']}.trained.json"
        if path.exists():
            pairs.append((one, json.loads(path.read_text())))
    for task in (None, *TASKS):
        some = [pair for pair in pairs if task in (None, pair[0]["task"])]
        if some:
            runs_of, made = [pair[0] for pair in some], [pair[1] for pair in some]
            yield f"\n## trained anew, {task or 'all tasks'}: {len(some)} runs\n"
            yield from interventions(runs_of, made)
            yield ""
            yield from against(runs_of, made)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    options = arguments(given)
    torch.set_num_threads(1)  # networks of this size gain nothing from more
    if not options.told:
        measure(options)
    print("\n".join(told(options.out)))


if __name__ == "__main__":
    main()
