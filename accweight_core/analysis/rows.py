"""The rows of an analysis: which parameters they stand for, and of how many steps they are read.

Of a large analysis, whose sums of all steps would not be held in memory, one step is read alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import get_args

import numpy as np

from accweight_core.analysis.sources import Source
from accweight_core.analysis.summary import Measured, Per, measured, measured_at
from accweight_core.arguments import checked_choice, checked_roles
from accweight_core.errors import MismatchError
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import Floats
from accweight_core.schema import Role
from accweight_core.store.header import Header

HELD_BYTES = 64 << 20
"""Sums that are held in memory for rankings; of more, a few steps are read at a time."""

Roles = Iterable[Role | str] | None
"""Roles of parameters that rows include; those of the analysis if None."""


def rows_of(source: Source, values: Floats, per: Per, roles: Roles) -> list[Measured]:
    """Return the metrics of all shown layers, parameters or heads, in network order.

    Args:
        source: The analysis.
        values: Its sums.
        per: Whether rows are layers, parameters or attention heads, which are read from files.
        roles: Roles to include.

    Raises:
        MismatchError: If no parameter has one of the roles, or no heads are known.
        SourceError: If heads are asked for, and checkpoints are missing or have changed.
    """
    header = _showing(source.header, roles)
    checked_choice(per, get_args(Per), "per")
    if per == "head":
        from accweight_core.analysis.heads import measured_heads  # reads files

        return measured_heads(source.run(), header.parameters, header.roles, header.metrics)
    return measured(header, values, per)


def rows_at(
    source: Source, values: Callable[[], Floats], place: int, per: Per, roles: Roles = None
) -> tuple[list[Measured], int]:
    """Return rows, and the place in their metrics of a step.

    Args:
        source: The analysis.
        values: Returns its sums; not called for a large analysis, unless heads are asked for.
        place: Index of the step.
        per: As of `rows_of`.
        roles: Roles to include.

    Raises:
        MismatchError, SourceError: As `rows_of`.
    """
    store = source.store
    if store is None or store.totals_bytes <= HELD_BYTES or per == "head":
        return rows_of(source, values(), per, roles), place
    checked_choice(per, get_args(Per), "per")
    return measured_at(_showing(source.header, roles), store, place, per), 0


def layer_maximum(source: Source, values: Callable[[], Floats], name: str) -> float:
    """Return the largest element of A_T of a parameter's layer, over all that is shown of it.

    Of a layer that is not shown, it is that of the parameter.

    Args:
        source: The analysis.
        values: As of `rows_at`.
        name: Name of the parameter.
    """
    header = source.header
    index = header.parameter_index(name)
    rows, last = rows_at(source, values, len(header.steps) - 1, "layer")
    for row in rows:
        if row.name == header.parameters[index].layer:
            return float(row.metrics["max"][last])
    largest = values()[-1, index, SUMS.index("path_max")]
    return float(np.maximum(largest, 0.0))


def _showing(header: Header, roles: Roles) -> Header:
    """Return the header with other roles to show; with its own by default."""
    if roles is None:
        return header
    showing = replace(header, roles=checked_roles(roles))
    found = dict.fromkeys(parameter.role for parameter in header.parameters)
    if not found.keys() & set(showing.roles):
        raise MismatchError(
            f"{header.source}: no parameter has the role {' or '.join(showing.roles)}; "
            f"roles measured: {', '.join(found) or 'none'}"
        )
    return showing
