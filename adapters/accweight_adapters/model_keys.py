"""Keys under which checkpoints keep models, copies of them, and the state of a training.

Scripts in every framework use the same few words; readers that meet trees of names tell by them
what holds a whole model, what is a smoothed copy of it, and what is not a weight at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from accweight_adapters.untrusted import quoted

Group = TypeVar("Group")

MAX_DEPTH = 32
"""Keys that lead to one tensor; real trees have a third of it."""

WRAPPER = re.compile(
    r"checkpoint|ema|generator|discriminator|model|module|net|network|params|parameters|state"
    r"|student|weights|.*(state_dict|_model|_module|_net|_network|_params|_state|_weights)"
)
"""Keys that hold a whole model, not a layer of one."""

TRAINING_STATE = re.compile(
    r"optim(?!al|um|i[sz]ed)|sched|scaler|(^|_)(rng|callbacks?|loops|metrics|history|hparams|hyper_?parameters)(_|$)"
)
"""Keys of mappings that hold tensors, but no weights."""

COPIES = re.compile(r"(^|[_.-])(ema|swa|avg|averaged?|shadow)([_.-]|$)")
"""Keys of smoothed copies of a model."""


def names_model(key: str) -> bool:
    """Tell whether a mapping under `key` holds a model or a copy of one, by the key alone."""
    lower = key.lower()
    return WRAPPER.fullmatch(lower) is not None or COPIES.search(lower) is not None


def without_copies(
    groups: Mapping[str, Group], notes: list[str], *, is_model_beside: bool = False
) -> dict[str, Group]:
    """Return the groups without averaged copies of a model, where the model itself is there.

    Args:
        groups: What lies under each key.
        notes: Is told what was left out.
        is_model_beside: Whether the model lies beside the groups, and not in one of them.
    """
    copies = [key for key in groups if COPIES.search(key.lower())]
    if len(copies) == len(groups) and not is_model_beside:
        return dict(groups)
    for key in copies:
        notes.append(f"left out {quoted(key)}: an averaged copy beside the model itself")
    return {key: group for key, group in groups.items() if key not in copies}
