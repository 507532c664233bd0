"""The model and the training metrics in Lightning checkpoints.

A LightningModule keeps its network in an attribute, so every name starts with ``model.``; that part
is removed if all names share it, and layers are named as in the bare network. The checkpoint may
also contain objects of the user's own classes: see `objects`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, TypeGuard

from accweight_adapters.measures import MAX_MEASURES, Numbers, as_float, is_showable
from accweight_adapters.pickles.weights import Weights, find_weights

VERSION_KEY: Final = "pytorch-lightning_version"
MODEL_PARTS: Final = ("state_dict", "optimizer_states")
"""Entries that are searched; the second only to report that it was left out."""

HOLDER = re.compile(r"_?(model|net|network|module)")
"""Attributes in which LightningModules keep a whole network."""


def is_lightning(content: object) -> TypeGuard[Mapping[object, object]]:
    """Tell whether Lightning's Trainer wrote a checkpoint."""
    return (
        isinstance(content, dict)
        and VERSION_KEY in content
        and isinstance(content.get("state_dict"), dict)
    )


def lightning_weights(content: Mapping[object, object]) -> Weights:
    """Return the weights of a Lightning checkpoint, named as in the bare network.

    Raises:
        ClaimError: If there are none, or if names are invalid or clash.
    """
    weights = find_weights({key: content[key] for key in MODEL_PARTS if key in content})
    weights.tensors = dict(zip(bare_names(weights.tensors), weights.tensors.values(), strict=True))
    return weights


def bare_names(names: Collection[str]) -> list[str]:
    """Return names of parameters without the attribute that has the whole network, if one has."""
    holders = {name.partition(".")[0] for name in names}
    holder = holders.pop() if len(holders) == 1 else ""
    if HOLDER.fullmatch(holder) and holder not in names:
        return [name.removeprefix(f"{holder}.") for name in names]
    return list(names)


def lightning_measures(content: Mapping[object, object], number: Numbers) -> dict[str, float]:
    """Return the metrics of `ModelCheckpoint`: the monitored one, and its best value so far.

    Args:
        content: The checkpoint; the key of a callback's state contains its settings.
        number: Returns the number that a value represents, or None.
    """
    callbacks = content.get("callbacks")
    found: dict[str, float] = {}
    for state in callbacks.values() if isinstance(callbacks, dict) else ():
        if not isinstance(state, dict) or "best_model_score" not in state:
            continue
        noted = {"best_model_score": state["best_model_score"]}
        if isinstance(state.get("monitor"), str):
            noted = {state["monitor"]: state.get("current_score"), **noted}
        for name, value in noted.items():
            figure = number((name,), value)
            known = None if figure is None else as_float(figure)
            if known is not None and is_showable(name) and len(found) < MAX_MEASURES:
                found.setdefault(name, known)
    return found
