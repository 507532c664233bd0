"""Numbers and sentences as every form of a report has them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def number_text(value: float | None) -> str:
    """Return a number with four digits; a dash for none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"


def sentence(text: str, names: Collection[str] = ()) -> str:
    """Return text that begins with a capital letter, unless it is a name, and ends with a stop.

    Args:
        text: What is said.
        names: Names, such as those of layers, that look like words and stay as they are.
    """
    first = text.split(" ", 1)[0]
    is_word = first.isalpha() and first.islower() and first not in names
    begun = text[:1].upper() + text[1:] if is_word else text
    return begun if begun.endswith((".", "!", "?", ":")) else f"{begun}."


def ends(values: Sequence[float | None]) -> str:
    """Return the first and the last of recorded values, which may be NaN or infinite."""
    known = [f"{value:.4g}" for value in values if value is not None]
    return " \N{RIGHTWARDS ARROW} ".join(known[:1] + known[1:][-1:]) or "-"
