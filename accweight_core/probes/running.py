"""Evaluate probes at the checkpoints of a run: the call, and the analysis that results go to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accweight_core.accumulate.grams import Grams
from accweight_core.accumulate.observing import Observer
from accweight_core.analysis.analysis import Analysis, open_analysis
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.arguments import check_callable, check_count
from accweight_core.errors import (
    AccweightError,
    ArgumentTypeError,
    ArgumentValueError,
    MismatchError,
)
from accweight_core.io.target import target_at
from accweight_core.jobs.pipeline import analyze
from accweight_core.probes.network import Network
from accweight_core.probes.options import as_probes
from accweight_core.probes.passes import inputs_of
from accweight_core.probes.probe import RUNS_NETWORK, Probe
from accweight_core.probes.probing import Notice, Probing, Progress
from accweight_core.runs.opening import as_run
from accweight_core.samples.opening import Given, open_samples
from accweight_core.schema import Run
from accweight_core.store.beginning import is_taken
from accweight_core.store.records import CheckpointRecord

USUAL_BATCH = 256


def probe(
    run: Analysis | Run | str | os.PathLike[str],
    network: Network | None = None,
    data: Given | None = None,
    probes: Sequence[Probe | str] | Probe | str = (),
    *,
    out: str | os.PathLike[str] | None = None,
    steps: str | Sequence[int] | None = None,
    batch_size: int = USUAL_BATCH,
    seed: int = 0,
    resize: tuple[int, int] | str | None = None,
    normalise: str | None = None,
    constants: Sequence[str] = (),
    unused: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
    notice: Notice = lambda line: None,
    grams: Grams | None = None,
) -> dict[str, ProbeResult]:
    """Evaluate probes at the checkpoints of a run, and store the results in its analysis.

    Every finished step is kept: the same call goes on where an earlier one was stopped, and gives
    the same bits.

    Args:
        run: An analysis or its path; or a run or its source, with `out`.
        network: The network; probes of weights alone need none.
        data: Samples, and targets for probes that need them: the path of an `.npz`, an `.npy` or a
            folder of images, or arrays (`accweight_core.samples.opening.Given`).
        probes: Probes, or texts such as "embedding:layer=fc1,method=tsne".
        out: Where a run is analysed, if it is not yet (NAME.accw).
        steps: Steps to probe (`accweight_core.probes.steps.chosen_steps`); all by default.
        batch_size: Samples per batch.
        seed: Seed of everything that is drawn.
        resize: (height, width) for images of a folder, or "input".
        normalise: How pixels are scaled: "unit", "imagenet", or MEAN/STD of pixels from 0 to 1.
        constants: Patterns of the network's tensors that no checkpoint has, and that stay.
        unused: Patterns of the checkpoints' tensors that the network leaves out on purpose.
        progress: Called after every batch.
        notice: Called with lines for the user.
        grams: What the analysis has observed while it walked, if this process has made it. A run
            that is analysed here is observed for the probes that ask for it.

    Returns:
        The results by the names of the probes; of several of one probe, by their options, as
        "embedding:method=tsne".

    Raises:
        AccweightError: If something does not fit; each cause has its own class.
    """
    check_count(batch_size, "batch_size")
    check_count(seed, "seed", least=0)
    check_callable(progress, "progress")
    check_callable(notice, "notice")
    wanted = as_probes(probes)
    _check_given(wanted, network, data)
    seen = [] if grams is None else [grams]

    def observe(run: Run) -> Grams:
        seen.append(Grams(len(run.checkpoints)))
        return seen[-1]

    takes_grams = steps is None and any(one.takes_grams for one in wanted)
    analysis = analysis_of(run, out, observe if takes_grams else None)
    if analysis.path is None:
        raise ArgumentValueError("the analysis is in memory; save it, or name a store with out")
    samples = None
    if network is not None and data is not None:
        samples = open_samples(data, inputs_of(network), resize=resize, normalise=normalise)
        for note in samples.notes:
            notice(note)
    probing = Probing(
        analysis, analysis.path, network, samples, batch_size, seed, steps, constants, unused,
        notice, seen[-1] if seen else None,
    )  # fmt: skip
    return _by_name(analysis, probing.run_all(wanted, progress))


def _by_name(analysis: Analysis, folders: Sequence[str]) -> dict[str, ProbeResult]:
    """Return results by the names of their probes; of several of one probe, by their options."""
    found = {folder: analysis.probes[folder] for folder in folders}
    plain, own = Counter(result.name for result in found.values()), analysis.probes.names
    return {
        result.name if plain[result.name] == 1 else own.get(folder, folder): result
        for folder, result in found.items()
    }


def _check_given(probes: Sequence[Probe], network: Any, data: Any) -> None:
    for wanted in probes:
        if not wanted.needs & RUNS_NETWORK:
            continue
        if network is None:
            samples = ", and samples with --data" if data is None else ""
            raise ArgumentValueError(
                f"probe {wanted.name!r} runs the network; give it with --model NET.onnx (in "
                f"Python, aw.Network.from_onnx or from_module){samples}"
            )
        if data is None:
            raise ArgumentValueError(
                f"probe {wanted.name!r} runs the network on samples; give them with --data: an "
                ".npz with x and y, an .npy, or a folder of images"
            )
    if network is not None and not all(hasattr(network, a) for a in ("with_weights", "inputs")):
        raise ArgumentTypeError(
            f"expected a network, got {type(network).__name__}; such as "
            'aw.Network.from_onnx("net.onnx") or aw.Network.from_module(module)'
        )


def analysis_of(
    given: Analysis | Run | str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    observe: Callable[[Run], Observer] | None = None,
) -> Analysis:
    """Return the analysis that results are stored in; a run is analysed into `out` first.

    Args:
        given: An analysis, or a run or its source.
        out: Where a run is analysed.
        observe: Called with a run before it is analysed; returns who observes the walk.

    Raises:
        ArgumentValueError: If a run has no place to be stored at.
        MismatchError: If there is the analysis of other checkpoints at `out`.
    """
    if isinstance(given, Analysis):
        if given.path is not None or out is None:
            return given
        return given.save(out)
    if isinstance(given, (str, os.PathLike)) and (Path(given) / "zarr.json").is_file():
        return open_analysis(given)
    run = as_run(given)
    if out is None:
        raise ArgumentValueError(
            f"{run.source}: is a run, and results of probes are stored in its analysis; name one "
            "with --out NAME.accw (it is made if it is not there)"
        )
    path, observer = target_at(out, "an analysis"), observe(run) if observe else None
    if not is_taken(path):
        return analyze(run, path, observer=observer)
    try:
        found = open_analysis(path)
    except AccweightError:
        return analyze(
            run, path, observer=observer
        )  # continues an unfinished one, and refuses what is none
    before = [(c.step, c.path) for c in found.header.checkpoints]  # with absolute paths
    now = [CheckpointRecord.of(c) for c in run.checkpoints]
    if before != [(c.step, c.path) for c in now]:
        raise MismatchError(
            f"{path}: is the analysis of other checkpoints ({len(before)} of "
            f"{found.header.source}); choose another --out"
        )
    return found
