"""Averaged copies of the weights (ema) that checkpoints hold, as series of their own.

They are listed and can be analysed by name. They are never the run by themselves, so that nobody
has to choose between a model and its average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accweight_core.naming import natural_key
from accweight_core.runs.found import Order, Placed
from accweight_core.runs.series import Series
from accweight_core.schema import BESIDE_MODEL, Description


def with_averages(made: Sequence[Series]) -> list[Series]:
    """Return series, each followed by those of the averaged copies in its checkpoints."""
    holding = [series for series in made if _keys(series) and not series.copy_of]
    names = {series.name.lower() for series in made}
    found = []
    for series in made:
        found.append(series)
        if series not in holding:
            continue
        for key in _keys(series):
            name = key if len(holding) == 1 and key.lower() not in names else f"{series.name}/{key}"
            while name.lower() in names:
                name += "-average"
            names.add(name.lower())
            found.append(_average(series, key, name))
    return found


def _keys(series: Series) -> list[str]:
    """Return the keys of the averaged copies in its checkpoints, whatever order files have."""
    keys = {key for place in series.placed for key in place.found.description.copies}
    return sorted(keys, key=lambda key: (natural_key(key), key))


def _average(series: Series, key: str, name: str) -> Series:
    """Return the series of one averaged copy; checkpoints without it are not in it."""
    placed = [
        replace(place, found=replace(place.found, description=_described(place, key), copy=key))
        for place in series.placed
        if key in place.found.description.copies
    ]
    return replace(
        series, name=name, order=Order(placed, []), above=frozenset(), averaged_of=series.name
    )


def _described(place: Placed, key: str) -> Description:
    description = place.found.description
    notes = tuple(note for note in description.notes if not note.endswith(BESIDE_MODEL))
    note = f"the averaged copy {key!r} is taken, not the model itself"
    return replace(description, tensors=description.copies[key], notes=(*notes, note), copies={})
