"""Find quantities that stand at one place of several names."""

from __future__ import annotations

import re
from collections.abc import Sequence

Context = tuple[str, str]
"""The text before and after a quantity, in lower case and with numbers as #."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def contexts(
    stems: Sequence[str], quantity: re.Pattern[str]
) -> dict[Context, dict[int, re.Match[str]]]:
    """Return where quantities stand: for each context, the names that have one there."""
    found: dict[Context, dict[int, re.Match[str]]] = {}
    for index, stem in enumerate(stems):
        for match in quantity.finditer(stem):
            around = (stem[: match.start()], stem[match.end() :])
            before, after = (_NUMBER.sub("#", text).lower() for text in around)
            found.setdefault((before, after), {})[index] = match
    return found


def replaced(match: re.Match[str], text: str) -> str:
    """Return the string of a match with other text in its place."""
    return match.string[: match.start()] + text + match.string[match.end() :]
