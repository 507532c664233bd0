"""Find training metrics next to the weights: loss, accuracy, learning rate.

A checkpoint may have hundreds of numbers, most of them counters, settings and optimizer state.
Metrics are recognised by the words in their keys, at the top and one level below; of a history the
last value is taken, which belongs to the checkpoint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise
from typing import Final

from accweight_adapters.untrusted import MAX_NAME

MAX_MEASURES: Final = 64
"""Most measures of one checkpoint."""

MAX_CANDIDATES: Final = 1024
"""Most entries with a matching key that are examined in one checkpoint."""

RECENT: Final = 64
"""Last values of a history that are examined for one that is finite."""

Keys = tuple[str, ...]
"""Keys on the path to a value."""

Numbers = Callable[[Keys, object], int | float | None]
"""Returns the number that a value represents, or None."""


def _words_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


QUALITIES: Final = _words_in(
    "loss nll mse rmse mae mape smape error err wer cer eer acc accuracy top1 top5 prec precision "
    "recall sensitivity specificity f1 fscore fbeta auc auroc auprc roc ap map iou miou dice "
    "jaccard psnr ssim lpips fid bleu rouge meteor cider chrf perplexity ppl bpc bpb bpd score "
    "reward return r2 mcc kappa ndcg mrr spearman pearson elbo likelihood kl kld divergence "
    "entropy cost objective fitness metric"
)
"""Words for the quality of a model."""

PACES: Final = frozenset({"lr", "gnorm", "learning rate", "grad norm", "gradient norm"})
"""Words, and pairs of words, for the speed of learning."""

COUNTS: Final = _words_in("num number n count counter target goal")
"""Words that turn a quality into a count or a goal: `num_errors`, `target_score`."""

SETTINGS: Final = COUNTS | _words_in(
    "weight coef coeff coefficient scale scaler scaling clip clipping warmup decay gamma alpha "
    "beta lambda lam eps epsilon tol tolerance threshold thresh thr patience margin factor mult "
    "multiplier seed size dim width height depth length len version type mode window interval "
    "freq frequency every horizon smoothing temperature limit bound time second sec ms duration "
    "timestamp date memory bytes"
)
"""Words that turn the words before them into a setting: `loss_weight`, `acc_time`."""

PACE_SETTINGS: Final = SETTINGS | _words_in(
    "max min base init initial start end final peak ratio schedule policy milestone drop cycle "
    "power restart"
)
"""Words that turn a pace into a setting in any position: `max_grad_norm`, `base_lr`."""

WHOLE: Final = _words_in("epoch step iter iteration batch round update index idx id precision")
"""Last words of keys of whole numbers that are no measures: `best_acc_epoch`, `acc_steps`."""

PER_ITEM: Final = _words_in("per class label device fold")
"""Words for lists that are not histories."""

NOT_TRAINING: Final = _words_in(
    "config cfg conf configuration arg argument namespace param parameter hparam hyper hyperparam "
    "hyperparameter option opt setting kwarg optim optimizer optimiser sched scheduler scaler amp "
    "rng callback loop"
)
"""Words for mappings of settings, or of the state of optimizers and schedulers."""

STATE_KEYS: Final = frozenset({"param_groups", "_last_lr", "_step_count"})
"""Keys that identify the state of an optimizer or scheduler, whatever its name."""

RATE: Final = "learning_rate"
"""Name of the learning rate that the state of an optimizer has."""

PARTS: Final = _words_in(
    "train training val valid validation test eval dev total mean avg average best last latest "
    "current"
)
"""Words that may stand alone in a mapping named after a quality: ``loss: {train: 0.3}``."""

KNOWN: Final = (
    QUALITIES
    | PACES
    | _words_in(" ".join(PACES))
    | PACE_SETTINGS
    | WHOLE
    | PER_ITEM
    | NOT_TRAINING
    | PARTS
)
"""Words that have no singular or unnumbered form."""

WORD = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
NONFINITE = re.compile(r"[+-]?(inf|infinity)|nan", re.IGNORECASE)
MAX_DIGITS: Final = 40


def plain_number(_keys: Keys, value: object) -> int | float | None:
    """Return a number, or None; booleans do not count."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def number_or_text(keys: Keys, value: object) -> int | float | None:
    """Return a number, also one in a string, for formats whose metadata are all strings."""
    text = value.strip() if isinstance(value, str) and len(value) <= MAX_DIGITS else ""
    if NONFINITE.fullmatch(text):
        return float(text)
    if not DECIMAL.fullmatch(text):
        return plain_number(keys, value)
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def measures_in(content: object, number: Numbers = plain_number) -> dict[str, float]:
    """Return the measures in `content`, in its order; they may be NaN or infinite.

    Args:
        content: Content of the checkpoint; only mappings have measures.
        number: Returns the number that a value represents, or None.

    Returns:
        At most `MAX_MEASURES` numbers by name, nested names joined with a dot.
    """
    found: dict[str, float] = {}
    if isinstance(content, Mapping):
        for keys, value in islice(_candidates(content), MAX_CANDIDATES):
            name = ".".join(keys)
            latest = _latest(keys, value, number)
            if latest is not None and is_showable(name):
                found.setdefault(name, latest)
            if len(found) == MAX_MEASURES:
                break
        rate = optimizer_rate(content, number)
        if rate is not None and len(found) < MAX_MEASURES and not any(map(_is_rate, found)):
            found[RATE] = rate
    return found


def _is_rate(name: str) -> bool:
    return not {"lr", "learning"}.isdisjoint(_words(name))


def optimizer_rate(content: Mapping[object, object], number: Numbers) -> float | None:
    """Return the learning rate in the states of optimizers, as PyTorch has them.

    Returns:
        None if there is none, or groups of parameters have several.
    """
    rates: set[float] = set()
    for value in islice(content.values(), MAX_CANDIDATES):
        states = value if isinstance(value, (list, tuple)) else (value,)
        for state in states[:MAX_MEASURES]:
            groups = state.get("param_groups") if isinstance(state, Mapping) else None
            if not isinstance(groups, (list, tuple)):
                continue
            for group in groups[:MAX_CANDIDATES]:
                known = number((RATE,), group.get("lr")) if isinstance(group, Mapping) else None
                told = None if known is None else finite(known)
                if told is None:
                    return None
                rates.add(told)
    return rates.pop() if len(rates) == 1 else None


def names_measure(key: str) -> bool:
    """Tell whether a key names a quality or a pace: a list under it is a history."""
    return _is_measure(_words(key)) if key else False


def is_showable(name: str) -> bool:
    """Tell whether a measure may have this name."""
    return bool(name) and name.isprintable() and len(name) <= MAX_NAME


def _candidates(content: Mapping[object, object]) -> Iterator[tuple[Keys, object]]:
    """Yield the entries whose key names a measure, at the top and one level below."""
    seen: set[int] = set()
    for key, value in content.items():
        if not isinstance(key, str) or not key:
            continue
        if _is_single(value):
            if _is_measure(_words(key)):
                yield (key,), value
        elif isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))  # a hostile file may contain one mapping a thousand times
            for inner in _inner_keys(key, value):
                yield (key, inner), value[inner]


def _inner_keys(key: str, entries: Mapping[object, object]) -> Iterator[str]:
    """Yield the keys of measures in a mapping; none if it holds settings or state."""
    words = _words(key)
    is_setting = not NOT_TRAINING.isdisjoint(words) or not SETTINGS.isdisjoint(words[-1:])
    if is_setting or not STATE_KEYS.isdisjoint(entries):
        return
    for inner, value in entries.items():
        if isinstance(inner, str) and inner and _is_single(value):
            parts = _words(inner)
            if _is_measure(parts) or (parts and _is_measure(words) and PARTS.issuperset(parts)):
                yield inner


def _is_single(value: object) -> bool:
    """Tell whether a value may be a number or a history, and not a mapping or a weight."""
    return not isinstance(value, Mapping) and not getattr(value, "shape", ())


def _is_measure(words: list[str]) -> bool:
    """Tell whether the words of a key name a quality or a pace.

    The last word is what a key is about: `alpha_loss` is a loss, `loss_alpha` a setting.
    """
    pairs = map(" ".join, pairwise(words))
    if not PACES.isdisjoint([*words, *pairs]):
        return PACE_SETTINGS.isdisjoint(words)
    if QUALITIES.isdisjoint(words):
        return False
    return (COUNTS if words[-1] in QUALITIES else SETTINGS).isdisjoint(words)


def _words(key: str) -> list[str]:
    """Return the words of a key, split at punctuation and capitals, in their base form.

    A mixed-case piece is also a word as a whole: `mAP`, `mIoU`.
    """
    words: list[str] = []
    for piece in re.split(r"[^A-Za-z0-9]+", key[:MAX_NAME]):
        parts = WORD.findall(piece)
        words += [_plain(part) for part in parts]
        if len(parts) > 1 and (whole := _plain(piece)) in QUALITIES:
            words.append(whole)
    return words


def _plain(word: str) -> str:
    """Return a word in lower case, without plural or trailing digits, unless it is in `KNOWN`."""
    lower = word.lower()
    stem = lower.rstrip("0123456789")
    for form in (lower, stem, re.sub("ies$", "y", stem), re.sub("(?<=ss)es$|s$", "", stem)):
        if form in KNOWN:
            return form
    return lower


def _latest(keys: Keys, value: object, number: Numbers) -> float | None:
    """Return a number, or the last one of a history, or None.

    In a history, NaN may stand for an epoch without validation: the last finite one counts if
    there is any.
    """
    words = _words(keys[-1])
    if isinstance(value, (list, tuple)):
        if not PER_ITEM.isdisjoint(words):
            return None
        history = reversed(value[-RECENT:])
    else:
        history = iter([value])
    last = None
    for item in history:
        if item is None:  # an epoch without validation
            continue
        latest = number(keys, item)
        if latest is None or (isinstance(latest, int) and words[-1] in WHOLE):
            return None
        if (known := finite(latest)) is not None:
            return known
        last = as_float(latest) if last is None else last
    return last


def as_float(number: int | float) -> float | None:
    """Return a number as a float, NaN and infinity as well; None if it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return None


def finite(number: int | float) -> float | None:
    """Return a number as a finite float, or None."""
    try:
        return float(number) if math.isfinite(number) else None
    except OverflowError:  # too large for a float
        return None
