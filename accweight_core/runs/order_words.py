"""Words in names that say which checkpoint comes first: init, early, before; late, final, best."""

from __future__ import annotations

import re
from collections.abc import Sequence

_INITIAL = re.compile(r"(^|[^a-z])(init|initial|untrained)([^a-z]|$)", re.IGNORECASE)
_FINAL = re.compile(r"(^|[^a-z])(final|finished|end|done|trained)([^a-z]|$)", re.IGNORECASE)
_LAST = re.compile(
    r"(^|[^a-z])(last|latest|newest|final|finished|end|done|trained)([^a-z]|$)", re.IGNORECASE
)
_COPY = re.compile(r"(^|[^a-z])(last|latest|best|final|newest)([^a-z]|$)", re.IGNORECASE)
_AVERAGE = re.compile(r"(^|[^a-z])(ema|swa|avg|ave|averaged?|polyak)([^a-z]|$)", re.IGNORECASE)
_AVERAGED = re.compile(
    r"(?<![a-zA-Z])(ema|swa|avg|ave|averaged?|polyak)(?![a-zA-Z])([-_]?0?\.9\d*)?", re.IGNORECASE
)
_DUPLICATE = re.compile(
    r" \([0-9]+\)$| - copy|^(copy of|backup|bak)[^a-z]|[^a-z](copy|backup|bak|old|orig)[0-9]*$",
    re.IGNORECASE,
)
_HYPHENATED = re.compile(r"(?<![a-z])(pre|fine)[-_ ](trained|tuned)(?![a-z])")
_IN_ORDER = (
    ("init", "initial", "untrained", "start", "begin", "beginning", "before", "pre", "first",
     "pretrained", "old", "prev", "previous", "original"),
    ("early",),
    ("mid", "middle", "during", "half", "halfway", "intermediate"),
    ("late",),
    ("final", "finished", "end", "after", "post", "last", "latest", "newest", "done", "trained",
     "finetuned", "new", "current", "cur"),
)  # fmt: skip
_RANKS = {word: rank for rank, words in enumerate(_IN_ORDER) for word in words}


def is_initial_name(name: str) -> bool:
    """Tell whether a name says that these are the weights before training."""
    return _INITIAL.search(name) is not None


def is_final_name(name: str) -> bool:
    """Tell whether a name says that these are the weights after training."""
    return _FINAL.search(name) is not None


def is_last_name(name: str) -> bool:
    """Tell whether a name says that no other checkpoint is later."""
    return _LAST.search(name) is not None


def is_copy_name(name: str) -> bool:
    """Tell whether a name includes 'last' or 'best', so it is probably a copy of another one."""
    return _COPY.search(name) is not None


def is_average_name(name: str) -> bool:
    """Tell whether a name says that the weights are those of several steps, averaged."""
    return _AVERAGE.search(name) is not None


def without_average_words(name: str) -> str:
    """Return a name without words for averages, the rate of one (`ema_0.9999`), and separators.

    >>> without_average_words("model_ema_N.pt"), without_average_words("run/ema")
    ('modelNpt', 'run')
    """
    parts = (_AVERAGED.sub("", part) for part in name.split("/"))
    plain = ("".join(filter(str.isalnum, part)) for part in parts)
    return "/".join(filter(None, plain))


def is_duplicate_name(stem: str) -> bool:
    """Tell whether a name is what copies of a file are called: `epoch_1 (1)`, `Copy of epoch_1`."""
    return _DUPLICATE.search(stem) is not None


def is_reset(parts: Sequence[str], step: int, others: Sequence[int]) -> bool:
    """Tell whether the counter of a checkpoint called best or last is none.

    Trainers reset it when they export the last weights, some of them to -1. Then it is below that
    of the others, where the last cannot be; the best may lie between them, not before them.

    Args:
        parts: Parts of its path that tell it from the others.
        step: What the counter says.
        others: Steps of the other checkpoints.
    """
    if any(map(is_last_name, parts)):
        return step < max(others, default=0)
    return any(map(is_copy_name, parts)) and step < min(others, default=0)


def rank_of(name: str) -> tuple[int, str]:
    """Return the place that the last word of order in a name says, and the rest of the name.

    >>> rank_of("net_early.pt"), rank_of("net_late.pt"), rank_of("net.pt")
    ((1, 'net_.pt'), (3, 'net_.pt'), (-1, 'net.pt'))
    """
    words = re.split(r"([^\W\d_]+)", _HYPHENATED.sub(r"\1\2", name.lower()))
    at = next((i for i in reversed(range(len(words))) if words[i] in _RANKS), None)
    if at is None:
        return -1, name
    return _RANKS[words[at]], "".join(words[:at] + words[at + 1 :])


def end_of(stem: str) -> int:
    """Return -1 for the name of initial weights, 1 for the last ones, 0 for all others."""
    return is_last_name(stem) - is_initial_name(stem)
