"""Values of options that need more than a type."""

from __future__ import annotations

import re

import typer

from accweight_core.schema import Role

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parsed_size(text: str) -> int:
    """Return the bytes that a size such as ``256M`` or ``1GiB`` stands for.

    >>> parsed_size("256M") == 256 * 1024**2
    True
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not match:
        raise typer.BadParameter(f"{text!r} is not a size; expected a number such as 0, 256M, 1G")
    return int(float(match[1]) * _UNITS[match[2]])


def parsed_roles(text: str) -> tuple[Role, ...]:
    """Return the roles in a comma-separated list."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {role.value for role in Role if role is not Role.OPTIMIZER}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise typer.BadParameter(
            f"{', '.join(unknown) or 'nothing'} is no role; roles are {', '.join(sorted(known))}"
        )
    return tuple(Role(name) for name in names)
