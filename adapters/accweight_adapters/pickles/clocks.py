"""Find how far training was when a pickled checkpoint was saved.

The keys that most programs use (`STEP_KEYS`) are believed before the names of the files. Others
have counters under keys of their own (`iter_num` of nanoGPT), one level below (`meta.iter` of
OpenMMLab), or in the optimizer alone; these may count something else, so names come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from accweight_adapters.measures import Numbers, plain_number
from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.untrusted import MAX_SIZE, STEP_KEYS, step_among

OTHER_KEYS: Final = (
    *("global_steps", "iter_num", "num_updates", "n_updates", "completed_steps", "num_timesteps"),
    *("training_step", "training_iteration", "global_iter", "current_iter", "cur_iter", "n_iters"),
    *("step_num", "env_steps", "iterations", "iters", "itr", "it", "updates", "batch", "cur_nimg"),
    *("samples_seen", "consumed_samples", "tokens_seen", "episode", "cur_epoch", "epoch_num"),
    *("epoch_idx", "trained_epochs", "last_epoch", "ep", "round", "generation"),
)
"""Keys that count training in some programs, finest first."""

HOLDERS: Final = re.compile(
    r"meta|info|stats|progress|trainer|train(ing)?_state|state|timestamp|extra_state"
    r"|train_iterator|(lr_)?scheduler",
    re.IGNORECASE,
)
"""Mappings beside the weights that hold such counters."""

OPTIMIZER: Final = re.compile(r"(.*_)?optim(izer)?s?(_state(_dict|s)?|_states)?", re.IGNORECASE)
DEEPEST: Final = 3
MOST_ENTRIES: Final = 256
"""Entries of a mapping that are looked at."""


class Clock(NamedTuple):
    """How far training was.

    Attributes:
        step: The number; None if there is none.
        key: Its key, nested keys joined with a dot.
        is_sure: Whether it counts more than names.
    """

    step: int | None = None
    key: str = ""
    is_sure: bool = True


def clock_in(content: object, number: Numbers = plain_number) -> Clock:
    """Return how far training was, from the entries beside the weights.

    Args:
        content: What the file holds.
        number: Returns the number that a value represents, or None.
    """
    entries = mapping_of(content)
    sure = step_among(entries)
    if sure:
        return Clock(*sure)
    found = [(keys, entries) for keys, entries in _places(entries, (), 0)]
    for names in (STEP_KEYS, OTHER_KEYS):
        for keys, inner in found:
            by_name = {str(key).lower(): key for key in islice(inner, MOST_ENTRIES)}
            for name in names:
                step = _whole(number((str(by_name.get(name)),), inner.get(by_name.get(name))))
                if step is not None:
                    return Clock(step, ".".join((*keys, name)), is_sure=False)
    step = _of_optimizer(entries, number)
    return Clock(step, "optimizer", is_sure=False) if step is not None else Clock()


def _places(
    entries: Mapping[object, object], keys: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], Mapping[object, object]]]:
    """Yield mappings that may hold counters, the nearest first."""
    yield keys, entries
    if depth == DEEPEST:
        return
    for key, value in islice(entries.items(), MOST_ENTRIES):
        if isinstance(key, str) and HOLDERS.fullmatch(key):
            inner = mapping_of(value)
            if inner:
                yield from _places(inner, (*keys, key), depth + 1)


def _whole(value: int | float | None) -> int | None:
    """Return a number as a step, if it may be one."""
    if value is None or not abs(value) < MAX_SIZE or value != int(value):
        return None
    return int(value)


def _of_optimizer(entries: Mapping[object, object], number: Numbers) -> int | None:
    """Return the counter that Adam and others of torch keep for each parameter."""
    for key, value in islice(entries.items(), MOST_ENTRIES):
        if isinstance(key, str) and OPTIMIZER.fullmatch(key):
            states = mapping_of(mapping_of(value).get("state"))
            for state in islice(states.values(), 1):
                step = _whole(number((key, "step"), mapping_of(state).get("step")))
                if step is not None:
                    return step
    return None
