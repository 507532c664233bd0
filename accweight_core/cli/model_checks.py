"""What a command needs to bind a network to a run: options, and the table of ``--check-model``.

`takes_binding` adds `check_model`, `constants` and `unused` to a command; with `check_model` it
calls `show_model_check`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from accweight_core.cli.output import Page
    from accweight_core.probes.binding.model_check import ModelCheck
    from accweight_core.probes.network import Network
    from accweight_core.schema import Run

Command = Callable[..., None]

check_model = click.option(
    "--check-model",
    is_flag=True,
    help="Show from which tensor of the checkpoints each tensor of the network is made, and what "
    "is proven; exit code 1 if it is not verified.",
)
constants = click.option(
    "--constant",
    "constants",
    multiple=True,
    metavar="PATTERN",
    help="Tensors of the network that no checkpoint has; they stay as the file has them.",
)
unused = click.option(
    "--unused",
    multiple=True,
    metavar="PATTERN",
    help="Tensors of the checkpoints that the network leaves out on purpose.",
)


def takes_binding(command: Command) -> Command:
    """Add the options of a binding to a command: `check_model`, `constants` and `unused`."""
    for option in (unused, constants, check_model):
        command = option(command)
    return command


def show_model_check(
    run: Run,
    network: Network,
    data: Any,
    constants: tuple[str, ...],
    unused: tuple[str, ...],
    *,
    json: bool,
) -> None:
    """Print how a network is bound to a run; exit with 1 if nothing is proven.

    Args:
        run: The run.
        network: The network.
        data: Samples with targets (`accweight_core.probes.binding.samples.Samples`), or None.
        constants: Patterns of the network's tensors that no checkpoint has.
        unused: Patterns of the checkpoints' tensors that the network leaves out.
        json: Whether to print one JSON document.
    """
    from accweight_core.cli import output
    from accweight_core.probes.binding.model_check import check_model

    found = check_model(run, network, data, constants=constants, unused=unused)
    output.show(found.to_json() if json else model_check_page(found))
    if not found.ok:
        raise SystemExit(1)


def model_check_page(found: ModelCheck) -> Page:
    """Return the table of a binding, and its proof below."""
    from accweight_core.cli.tables import Table
    from accweight_core.probes.binding.model_check import COLUMNS
    from accweight_core.text import plain

    rows = [[plain(cell) for cell in row] for row in found.rows()]
    return [Table.of_rows(COLUMNS, rows, "sure"), "", *map(plain, found.summary())]
