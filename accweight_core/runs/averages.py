"""Averaged copies of the weights (ema), in the checkpoints or in files beside them, as series.

They are listed and can be analysed by name. They are never the run by themselves, so that nobody
has to choose between a model and its average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accweight_core.naming import natural_key
from accweight_core.runs.found import Order, Placed
from accweight_core.runs.order_words import is_average_name, without_average_words
from accweight_core.runs.series import Series
from accweight_core.schema import BESIDE_MODEL, Description


def with_averages(made: Sequence[Series]) -> list[Series]:
    """Return series, each followed by those of its averaged copies."""
    made = _with_models(made)
    holding = [one for one in made if _keys(one) and not one.copy_of and not one.averaged_of]
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


def _with_models(made: Sequence[Series]) -> list[Series]:
    """Return series, each followed by those that are its averages by their names."""
    model_of = {series.name: _model(series, made) for series in made}
    found = [replace(one, averaged_of=model_of[one.name]) for one in made]
    places = {series.name: index for index, series in enumerate(made)}
    return sorted(found, key=lambda one: (places[one.averaged_of or one.name], one.averaged_of))


def _model(average: Series, made: Sequence[Series]) -> str:
    """Return the name of the series whose average another one is by its name; empty if unsure.

    The model has the same parameters, and all steps of the average. It is named like the average
    but for the word (`model_N.pt`, `model_ema_N.pt`), or is the only one in its folder.
    """
    if not is_average_name(_called(average)) or average.copy_of or not average.is_complete:
        return ""
    models = [one for one in made if not is_average_name(_called(one)) and _fits(average, one)]
    called, folder = (
        without_average_words(_called(average)),
        without_average_words(_folder(average)),
    )
    for near in (
        [one for one in models if without_average_words(_called(one)) == called],
        [one for one in models if _folder(one) == folder],
    ):
        if near:
            return near[0].name if len(near) == 1 else ""
    return ""


def _fits(average: Series, model: Series) -> bool:
    return average.signature == model.signature and {*average.steps} <= {*model.steps}


def _folder(series: Series) -> str:
    """Return the folder of a series below the source."""
    return series.told[0] if series.told else ""


def _called(series: Series) -> str:
    """Return the folder of a series, and how its files are named."""
    return f"{_folder(series)}/{series.pattern}"


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
