"""The command that evaluates probes at the checkpoints of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options
from accweight_core.cli.model_checks import takes_binding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from accweight_core.cli.output import Page
    from accweight_core.probes.network import Network
    from accweight_core.runs.selection import Selection


_SAMPLES = (
    click.option(
        "--data",
        type=options.FILE,
        metavar="FILE",
        help="Samples and targets: an .npz with x and y, an .npy, or a folder of images "
        "(a sub-folder per class).",
    ),
    click.option(
        "-o",
        "--out",
        type=options.OUT,
        metavar="NAME.accw",
        help="Analysis to store the results in, if SOURCE is checkpoints; made if it is not there.",
    ),
    click.option(
        "--batch-size",
        type=options.AT_LEAST_ONE,
        default=256,
        show_default=True,
        metavar="N",
        help="Samples that are run at a time.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Seed of everything that is drawn.",
    ),
    click.option(
        "--resize",
        metavar="SIZE",
        help="Resize images of a folder: 28, 28x32 (height x width), or input for the network's "
        "size.",
    ),
    click.option(
        "--normalise",
        metavar="HOW",
        help="How pixels are scaled: unit (0 to 1), imagenet, mnist, or MEAN/STD of pixels from 0 "
        "to 1, such as 0.5/0.25.",
    ),
    click.option(
        "--engine",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="What runs the network: onnx (torch), ort (ONNX Runtime, forward only), or auto.",
    ),
    click.option(
        "--device",
        default="cpu",
        show_default=True,
        metavar="NAME",
        help="Where torch runs the network: cpu, cuda, cuda:1.",
    ),
)


def takes_samples(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of samples, of what runs the network on them, and of where results go."""
    for option in reversed(_SAMPLES):
        command = option(command)
    return command


@click.command()
@click.argument(
    "source", nargs=-1, metavar="SOURCE...", help="An analysis (NAME.accw), or checkpoints."
)
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help="Probe to evaluate, with its options; can be given several times.",
)
@click.option("--list", "listed", is_flag=True, help="List the probes and their options, and exit.")
@click.option("--model", type=options.FILE, metavar="FILE", help="ONNX file of the network.")
@click.option(
    "--steps",
    metavar="WHICH",
    help="Steps to probe: first, last, all, every:N, last:N, numbers; comma-separated.",
)
@takes_samples
@click.option(
    "--png", type=options.OUT, metavar="FOLDER",
    help="Draw what was found as PNG files in a folder, replacing older ones.",
)  # fmt: skip
@click.option(
    "--html", type=options.OUT, metavar="FILE",
    help="Write what was found as one page that opens anywhere, replacing an older one.",
)  # fmt: skip
@click.option(
    "--movie", type=options.OUT, metavar="FILE",
    help="Film pictures, points and paths over the steps as .mp4 or .gif; of several, a file each.",
)  # fmt: skip
@takes_binding
@options.takes_selection_without_model
@options.as_json
def probe(
    source: tuple[str, ...],
    probes: tuple[str, ...],
    model: Path | None,
    data: Path | None,
    engine: str,
    device: str,
    resize: str | None,
    png: str | None,
    html: str | None,
    movie: str | None,
    selection: Selection,
    *,
    listed: bool,
    check_model: bool,
    json: bool,
    **how: Any,
) -> None:
    """Evaluate probes at every checkpoint: what the network does, not only how it moved."""
    from accweight_core.alignment.graph_binding import keep_model_graph
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.cli import output
    from accweight_core.cli import probes as shown
    from accweight_core.probes.options import as_probes
    from accweight_core.probes.running import probe as evaluate
    from accweight_core.samples.opening import size_of

    if listed:
        output.show(shown.list_json() if json else shown.list_page())
        return
    how["resize"] = None if resize is None else size_of(resize)
    if check_model:
        if not source or model is None:
            raise click.UsageError("--check-model takes SOURCE and --model NET.onnx")
        _check_model(source, selection, network_at(model, engine, device), data, how, json=json)
        return
    if not source or not probes:
        raise click.UsageError("give SOURCE and --probe NAME; --list shows the probes there are")
    wanted = as_probes(list(probes))
    film = None if movie is None else shown.film_at(movie)
    if png is not None:
        shown.check_is_folder(png)
    network = None if model is None else network_at(model, engine, device)
    given = run_of(source, selection)
    with output.progress("probe", "batches") as advance:
        results = evaluate(
            given,
            network,
            data,
            wanted,
            progress=advance,
            notice=output.remark,
            **how,
        )
    if model is not None and isinstance(given, Analysis):
        keep_model_graph(given, model)
    for result in results.values():
        output.warn(*shown.doubts(result))
    drawn = [] if png is None else shown.write_figures(results, png)
    drawn += [] if film is None else shown.write_movies(results, film)
    written = {} if html is None else {"html": str(shown.write_page(results, html))}
    page: Page = [line for result in results.values() for line in shown.page(result)]
    page = [*page, *(f"drawn: {path}" for path in drawn)]
    page = [*page, *(f"written: {path}" for path in written.values())]
    document = {**shown.results_json(results), "drawn": [str(path) for path in drawn], **written}
    output.show(document if json else page)


def _check_model(
    source: tuple[str, ...],
    selection: Selection,
    network: Network,
    data: Path | None,
    how: Mapping[str, Any],
    *,
    json: bool,
) -> None:
    """Print how the network is bound to the run, and exit with 1 if nothing is proven."""
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.cli.model_checks import show_model_check
    from accweight_core.probes.passes import inputs_of
    from accweight_core.samples.opening import open_samples

    given = run_of(source, selection)
    run = given.run() if isinstance(given, Analysis) else given
    samples = None
    if data is not None:
        samples = open_samples(
            data, inputs_of(network), resize=how["resize"], normalise=how["normalise"]
        )
    show_model_check(run, network, samples, how["constants"], how["unused"], json=json)


def network_at(model: Path, engine: str, device: str) -> Network:
    """Return the network in a file."""
    from accweight_core.probes.network import Network

    return Network.from_onnx(model, engine=engine, device=device)


def run_of(source: tuple[str, ...], selection: Selection) -> Any:
    """Return an analysis, or the run that a source selects."""
    from accweight_core.analysis.analysis import open_analysis
    from accweight_core.cli.options import named
    from accweight_core.runs.opening import selected_run

    if len(source) == 1 and (Path(source[0]) / "zarr.json").is_file():
        return open_analysis(source[0])
    return selected_run(named(source), selection)
