"""Keys that checkpoints use for models, copies of models, and training state.

Scripts in all frameworks use the same few words. Readers of nested checkpoints use them to find the
model, its averaged copies, and what is not a weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from accweight_adapters.untrusted import quoted, quoted_few
from accweight_core.schema import BESIDE_MODEL

Group = TypeVar("Group")

MAX_DEPTH = 32
"""Most keys on the path to a tensor; real checkpoints have a third of that."""

MOST_NAMED = 3
"""Copies that get a note each; more share one."""

WRAPPERS = frozenset(
    ("checkpoint", "ema", "generator", "discriminator", "model", "module", "net", "network")
) | frozenset(("params", "parameters", "state", "student", "weights"))
"""Keys of whole models, as opposed to layers."""

WRAPPER_ENDS = (
    "state_dict", "_model", "_module", "_net", "_network", "_params", "_state", "_weights",
)  # fmt: skip
"""Endings of such keys."""

TRAINING_STATE = re.compile(
    r"optim(?!al|um|i[sz]ed)|^opt(_?states?)?$|sched|scaler|(^|_)(rng|callbacks?|loops|metrics|history|hparams|hyper_?parameters)(_|$)"
)
"""Keys of mappings with tensors that are not weights."""

COPIES = re.compile(r"(^|[_.-])(ema|swa|avg|averaged?|shadow)([_.-]|$)")
"""Keys of averaged copies of a model."""


def wraps_model(key: str) -> bool:
    """Tell by the key alone whether a mapping holds a whole model, as opposed to a layer."""
    lower = key.lower()
    return lower in WRAPPERS or lower.endswith(WRAPPER_ENDS)


def names_model(key: str) -> bool:
    """Tell by the key alone whether a mapping holds a model or a copy of one."""
    return wraps_model(key) or COPIES.search(key.lower()) is not None


def left_out_numbers(names: Sequence[str]) -> str:
    """Return the note on single numbers beside a model that are neither a step nor a measure."""
    return f"left out {quoted_few(names)}: single numbers beside the model, not in it"


def without_copies(
    groups: Mapping[str, Group], notes: list[str], *, is_model_beside: bool = False
) -> dict[str, Group]:
    """Return the groups without averaged copies of a model, if the model itself exists.

    Args:
        groups: Contents by key.
        notes: Receives a remark on what was left out.
        is_model_beside: Whether the model is next to the groups rather than in one of them.
    """
    copies = {key: None for key in groups if COPIES.search(key.lower())}
    if len(copies) == len(groups) and not is_model_beside:
        return dict(groups)
    if len(copies) > MOST_NAMED:
        notes.append(f"left out {quoted_few([*copies])}: averaged copies {BESIDE_MODEL}")
    else:
        for key in copies:
            notes.append(f"left out {quoted(key)}: an averaged copy {BESIDE_MODEL}")
    return {key: group for key, group in groups.items() if key not in copies}
