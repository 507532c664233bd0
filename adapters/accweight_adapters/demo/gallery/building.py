"""Train all networks of the gallery, analyse and probe them, and write its page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.networks.training import (
    ANALYSIS,
    CHECKPOINTS,
    GRAPH,
    Network,
)
from accweight_adapters.demo.gallery.page import write_page
from accweight_adapters.demo.gallery.system import ProbePart, System, Truth
from accweight_adapters.demo.gallery.systems import SYSTEMS
from accweight_core.errors import StoreError, reason_of
from accweight_core.io.target import target_at
from accweight_core.jobs.pipeline import analyze
from accweight_core.probes.network import Network as Runnable
from accweight_core.probes.running import probe
from accweight_core.runs.opening import open_run

HOME, PAGE, NUMBERS = "gallery", "gallery.html", "gallery.json"
"""Names of the folder of networks, of the page, and of the numbers in the folder."""

Progress = Callable[[int, int], None]
Done = Callable[[System, Sequence[Truth]], None]


@dataclass(frozen=True)
class Gallery:
    """The gallery that was made.

    Attributes:
        page: The page.
        made: Its networks and results.
        numbers: A document per system: planted, found, and whether they agree.
    """

    page: Path
    made: Made
    numbers: list[dict[str, Any]]


def make_gallery(
    out: Path,
    *,
    seed: int = 0,
    share: float = 1.0,
    systems: Sequence[System] = SYSTEMS,
    progress: Progress = lambda done, total: None,
    on_system: Done = lambda system, truths: None,
) -> Gallery:
    """Make the networks and the page; equal seeds give equal numbers.

    Args:
        out: Folder of the page; created if missing.
        seed: Seed of the weights, and of the order of samples.
        share: Share of the usual epochs that networks are trained for.
        systems: Entries of the page.
        progress: Called after each network, and for the page.
        on_system: Called with a system and what was planted and found, as soon as that is known.

    Raises:
        StoreError: If `out` cannot be written, or holds a folder that no gallery has written.
        MissingLibraryError: If a library is missing.
    """
    made = Made(_emptied(out / HOME))
    asked, found = _asked(systems), dict[str, Sequence[Truth]]()
    total, before = len(asked) + 1, torch.get_num_threads()
    torch.set_num_threads(1)  # batches are small; the same bits on any number of cores
    try:
        for done, (network, questions) in enumerate(asked.items(), start=1):
            _make(made, network, seed, share)
            for data, specs in questions.items():
                _probe(made, network, data, specs)
            for system in _finished(systems, made, network):
                found[system.name] = _answered(system, made)
                on_system(system, found[system.name])
            progress(done, total)
        truths = [found[system.name] for system in systems]
        page = write_page(systems, made, truths, out / PAGE, seed)
    finally:
        torch.set_num_threads(before)
    numbers = [_numbers(*pair, made) for pair in zip(systems, truths, strict=True)]
    (made.home / NUMBERS).write_text(json.dumps(numbers, indent=2), "utf-8")
    progress(total, total)
    return Gallery(page, made, numbers)


def _emptied(home: Path) -> Path:
    """Return the folder of the networks, without those of an earlier gallery.

    The file of numbers says that a gallery wrote the folder; it is there before the networks are.
    """
    target_at(home, "a gallery")
    try:
        if home.exists() and any(home.iterdir()) and not (home / NUMBERS).is_file():
            raise StoreError(f"{home}: holds files that no gallery wrote; choose another --out")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        (home / NUMBERS).write_text("[]", "utf-8")
    except OSError as error:
        raise StoreError(f"{home}: cannot be written ({reason_of(error)})") from error
    return home


def _asked(systems: Sequence[System]) -> dict[Network, dict[str, list[str]]]:
    """Return all networks, and what is asked of each: probes by samples, each once."""
    found: dict[Network, dict[str, list[str]]] = {}
    for system in systems:
        for part in system.parts:
            questions = found.setdefault(part.network, {})
            if isinstance(part, ProbePart):
                specs = questions.setdefault(part.data, [])
                specs += [part.probe] if part.probe not in specs else []
    return found


def _finished(systems: Sequence[System], made: Made, last: Network) -> list[System]:
    """Return the systems whose networks are all made, now that the last one is."""
    return [
        system
        for system in systems
        if last in (networks := [part.network for part in system.parts])
        and all(network.name in made.planted for network in networks)
    ]


def _answered(system: System, made: Made) -> Sequence[Truth]:
    """Run what is left of a system; return what was planted and found."""
    for part in system.parts:
        part.run(made)
    return system.truths(made)


def _make(made: Made, network: Network, seed: int, share: float) -> None:
    """Train and analyse a network; the state of torch's generator stays as it is."""
    folder = made.folder(network)
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made.planted[network.name] = network.make(folder, seed, share)
    analyze(open_run(folder / CHECKPOINTS), folder / ANALYSIS)


def _probe(made: Made, network: Network, data: str, specs: Sequence[str]) -> None:
    """Ask all probes of a network at once: they share the passes over its samples."""
    folder = made.folder(network)
    given = folder / data
    found = probe(
        folder / ANALYSIS,
        Runnable.from_onnx(folder / GRAPH),
        given,
        list(specs),
        resize="input" if given.is_dir() else None,
    )
    for spec, result in zip(specs, found.values(), strict=True):
        made.results[network.name, data, spec] = result


def _numbers(system: System, truths: Sequence[Truth], made: Made) -> dict[str, Any]:
    """Return what was planted and found, and the commands."""
    return {
        "name": system.name,
        "title": system.title,
        "truths": [truth.document() for truth in truths],
        "holds": all(truth.holds for truth in truths),
        "commands": system.commands(made),
    }
