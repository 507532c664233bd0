"""Output of a training: a live line on stderr, and a final table or JSON document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from accweight_adapters.training.loop import Done, Watch
from accweight_adapters.training.run import Result
from accweight_core.cli.output import Page
from accweight_core.cli.tables import Table
from accweight_core.text import plain

SHORT = {"validation_loss": "val. loss", "validation_accuracy": "val. accuracy"}


@contextmanager
def progress(epochs: int) -> Iterator[Watch]:
    """Show the progress of a training, and one line per saved epoch."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    columns = (
        TextColumn("train", markup=False),
        BarColumn(),
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}", markup=False),
        TextColumn("{task.fields[measures]}", markup=False),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task("", total=None, epoch=0, epochs=epochs, measures="")

    def watch(done: Done) -> None:
        if done.saved is not None:
            console.print(f"epoch {done.epoch}/{epochs}: {_line(done.measures)}")
            return
        bar.start()
        share = done.batch / done.of
        completed = share if done.epoch == 0 else done.epoch + share
        shown = _line(done.measures)
        bar.update(task, completed=completed, total=epochs + 1, epoch=done.epoch, measures=shown)

    try:
        yield watch
    except BaseException:
        bar.live.transient = True  # leave the last line to the error
        raise
    finally:
        bar.stop()


def _line(measures: dict[str, float]) -> str:
    return ", ".join(f"{SHORT.get(name, name)} {value:.4g}" for name, value in measures.items())


def document(result: Result) -> dict[str, Any]:
    """Return the document for ``train --json``."""
    setup, config = result.setup, result.config
    return {
        "out": str(config.out),
        "model": str(config.model),
        "loss": setup.loss.value,
        "optimizer": config.optimizer.kind.value,
        "learning_rate": config.optimizer.learning_rate,
        "batch_size": setup.batch_size,
        "seed": config.epochs.seed,
        "samples": len(setup.data),
        "validation_samples": 0 if setup.validation is None else len(setup.validation),
        "trained": list(setup.network.selection.trained),
        "frozen": list(setup.network.selection.frozen),
        "checkpoints": [str(path) for path in result.checkpoints],
        "epochs": [{"epoch": epoch, **values} for epoch, values in result.history.items()],
        "notes": list(result.notes),
    }


def summary(result: Result) -> Page:
    """Return the final summary: measures by epoch, and the next command."""
    selection = result.setup.network.selection
    names = list(next(iter(result.history.values()), {}))
    heads = ("epoch", *(SHORT.get(name, name) for name in names))
    rows = [
        (str(epoch), *(f"{values[name]:.4g}" for name in names))
        for epoch, values in result.history.items()
    ]
    out = result.config.out
    frozen = f", {len(selection.frozen)} frozen" if selection.frozen else ""
    return [
        (
            f"{plain(out)}: {len(result.checkpoints)} checkpoints, "
            f"{len(selection.trained)} parameters trained{frozen}"
        ),
        "",
        Table.of_rows(heads, rows, *heads),
        "",
        f"next: accweight analyze {plain(out)} -o {plain(out.name or 'run')}.accw",
    ]
