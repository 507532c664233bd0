"""The rows of an analysis: which parameters they stand for, and of how many steps they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from accweight_core.analysis.sources import Source
from accweight_core.analysis.summary import Measured, Per, measured, measured_at
from accweight_core.arguments import checked_choice, checked_roles
from accweight_core.errors import MismatchError
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


def rows_at(source: Source, place: int, per: Per, roles: Roles) -> list[Measured] | None:
    """Return the rows of one step of a large analysis; None if all steps can be held in memory."""
    store = source.store
    if store is None or store.totals_bytes <= HELD_BYTES or per == "head":
        return None
    checked_choice(per, get_args(Per), "per")
    return measured_at(_showing(source.header, roles), store, place, per)


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
