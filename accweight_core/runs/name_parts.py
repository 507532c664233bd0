"""Take the names of checkpoints apart: the text that stays, and the numbers that change.

`epoch=03-val_loss=0.35-v1.ckpt` has the pattern ``epoch=#-val_loss=~``, a count of epochs, a
measure, the version 1 and the ending ``.ckpt``. Files with one pattern are named alike. Counts may
be written as people do: `500`, `1k`, `1.5M`, `1e6`, `2024-01-02_13-00`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import takewhile

STEP_WORDS = ("global_step", "global-step", "step", "steps", "iteration", "iter", "it", "update",
              "batch", "ba", "epoch", "ep", "checkpoint", "ckpt", "round", "generation", "snapshot",
              "artifact")  # fmt: skip
"""Words for the number of a step, in order of preference."""

EPOCH_WORDS = frozenset(("epoch", "ep", "round", "generation"))
"""Words for the coarse count of a step, of which another may be a part."""

BATCH_WORDS = frozenset(("batch", "ba"))
"""Words for the count within an epoch."""

COUNTED_ANEW = BATCH_WORDS | {"iteration", "iter", "it", "update"}
"""Words for counts that may begin again in every epoch."""

RUN_WORDS = frozenset(
    ("run", "version", "ver", "v", "fold", "seed", "trial", "exp", "experiment", "split", "replica",
     "member", "agent", "worker", "rank", "job", "task", "sweep", "lr", "bs", "wd", "try", "cv",
     "kfold", "ensemble", "client", "subject", "sub", "patient", "user", "speaker", "island",
     "individual", "ind", "genome", "layer", "block", "shard")
)  # fmt: skip
"""Words for numbers that tell runs, or networks of one run, apart, not the steps of one."""

SETTING_WORDS = frozenset(
    ("lr", "rate", "wd", "decay", "dropout", "drop", "alpha", "beta", "gamma", "lambda", "tau",
     "temp", "temperature", "eps", "noise", "momentum", "ratio", "width", "scale", "v", "version",
     "sigma", "dim", "hidden", "size", "depth", "fp", "bf", "int", "uint", "float")
)  # fmt: skip
"""Words for fractions that are settings of a run, so they belong to its name."""

PART_WORDS = frozenset(("part", "chunk", "piece", "class", "expert", "head"))
"""Words for numbers that may be those of parts of a network, or of several."""

_WITHIN = {"b": "batch", "i": "iter"}
"""Letters for counts within an epoch, where one for the epoch is before them."""

SEPARATORS = "=_-. :"
"""Characters between the words and numbers of a name."""

LARGEST = 2**62
"""Limit of steps in names; larger numbers are sizes or hashes."""

COUNTED = r"(?:(?:tok|token|step|iter|iteration|update|frame|sample|example|image|img)s?)"
"""What is counted, where it is written in one word with its unit: `1.5Mtokens`."""

_UNITS = {"": 1, "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "B": 10**9}
_ENDING = re.compile(
    r"(\.weights\.(h5|json)|\.(safetensors|bin)\.index\.json|\.index\.json|\.pth?\.tar|\.tar\.gz"
    r"|\.(?:[A-Za-z][A-Za-z_]{0,11}|h5|hdf5|pt2))$",
    re.IGNORECASE,
)
_VERSION = re.compile(r"-v([0-9]{1,4})$")
_ARTIFACT = re.compile(r"(.+:v)([0-9]{1,9})")
"""Versions of an artifact of Weights & Biases; the ids in its name are no numbers."""

_WORD = re.compile(r"([^\W\d_]+(?:[_-][^\W\d_]+)*)([=_\-. :]*)$")
_AFTER = re.compile(r"([_-]?)(steps?|iters?|iterations?|updates?|epochs?|ep)(?![A-Za-z])", re.I)
_MEASURE = re.compile(
    r"(^|[_-])(loss|acc|accuracy|f1|auc|auroc|bleu|rouge[a-z]*|score|reward|return|map|psnr|ssim|fid"
    r"|ppl|perplexity|err|error|wer|cer|rmse|mae|mse|dice|iou|miou|precision|recall|metric|nll"
    r"|elbo|bpb|bpc|top|eer|kl|corr|mcc|kappa)$",
    re.IGNORECASE,
)
_PART = re.compile(
    r"(?P<date>(?<![0-9])(?:19|20)[0-9]{2}(?P<s>[-_.]?)(?:0[1-9]|1[0-2])(?P=s)"
    r"(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[-_T.+ ]?(?:[01][0-9]|2[0-3])[-_:h.]?[0-5][0-9]"
    r"(?:[-_:m.]?[0-5][0-9](?P<parts>\.[0-9]{1,9})?)?)?(?![0-9A-Za-z]))"
    r"|(?P<hash>(?<![A-Za-z0-9])(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{7,40}(?![A-Za-z0-9]))"
    r"|(?P<release>(?<![0-9])(?<![0-9]\.)[0-9]{1,6}(?:\.[0-9]{1,9}){2,5}(?![0-9]|\.[0-9]))"
    r"|(?P<number>(?:(?<=[=_])[-+])?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2}(?![A-Za-z0-9]))?"
    rf"(?P<unit>[kKmMB](?={COUNTED}?(?![A-Za-z0-9])))?)"
)


class Sort(StrEnum):
    """What a number in a name is."""

    COUNT = "count"
    MEASURE = "measure"
    HASH = "hash"


@dataclass(frozen=True)
class Number:
    """One number of a name.

    Attributes:
        text: As it is written.
        sort: What it is.
        key: The words before it, in lower case: ``val_loss=0.3``; or after it: ``500_steps``.
        is_glued: Whether nothing is between the word before and the number: ``resnet50``.
        value: Its value; 0 for hashes.
    """

    text: str
    sort: Sort
    key: str
    is_glued: bool
    value: Decimal

    @cached_property
    def step_word(self) -> str:
        """The word of steps in its key; empty if there is none."""
        if _last_word(self.key) in SETTING_WORDS:  # `eps` is no plural of `ep`
            return ""
        return next((w for w in STEP_WORDS if re.search(rf"(^|[_-]){w}s?$", self.key)), "")

    @property
    def run_word(self) -> str:
        """The word of runs before it: ``seed0``, ``version_1``; empty if there is none."""
        word = _last_word(self.key)
        return next((w for w in (word, word.removesuffix("s")) if w in RUN_WORDS), "")

    @property
    def tells_runs_apart(self) -> bool:
        """Whether it is the number of a run: ``seed0``, ``version_1``."""
        return bool(self.run_word)

    @property
    def may_tell_runs_apart(self) -> bool:
        """Whether it is the number of a run, of a setting or of a part: ``alpha_10``."""
        word = _last_word(self.key)
        return self.tells_runs_apart or word in SETTING_WORDS or word in PART_WORDS

    @property
    def is_date(self) -> bool:
        """Whether it is a date."""
        return self.key == "date"

    @property
    def is_named_measure(self) -> bool:
        """Whether a word says what it measures: ``val_loss=0.3``."""
        return self.sort is Sort.MEASURE and _MEASURE.search(self.key) is not None

    @property
    def is_step(self) -> bool:
        """Whether its value may be a step."""
        return self.sort is Sort.COUNT and abs(self.value) < LARGEST


@dataclass(frozen=True)
class NameParts:
    """A name taken apart.

    Attributes:
        texts: The text before, between and after the numbers; one more than numbers.
        numbers: The numbers, from left to right.
        version: The number that Lightning adds to a name that is taken (``-v1``); 0 without.
        ending: The suffixes, in lower case.
    """

    texts: tuple[str, ...]
    numbers: tuple[Number, ...]
    version: int
    ending: str

    @cached_property
    def pattern(self) -> str:
        """The name in lower case, counts as ``#`` and other numbers as ``~``; without ending."""
        marks = ["#" if n.sort is Sort.COUNT else "~" for n in self.numbers]
        return "".join(t + m for t, m in zip(self.texts, [*marks, ""], strict=True)).lower()

    @cached_property
    def counts(self) -> tuple[Number, ...]:
        """The numbers that may be steps."""
        return tuple(n for n in self.numbers if n.sort is Sort.COUNT)

    @property
    def measures(self) -> dict[str, float]:
        """Training figures in the name: ``val_loss=0.35``; one without a word is ``in_name``."""
        found = [n for n in self.numbers if n.sort is Sort.MEASURE]
        return {n.key.rpartition("-")[2] or "in_name": float(n.value) for n in found}


@lru_cache(maxsize=1 << 16)
def parts_of(name: str) -> NameParts:
    """Take a name apart.

    >>> parts_of("checkpoint_1.5M.pt").counts[0].value
    Decimal('1500000.0')
    """
    artifact = _ARTIFACT.fullmatch(name)
    if artifact:
        count = Number(artifact[2], Sort.COUNT, "artifact", False, Decimal(artifact[2]))
        return NameParts((artifact[1], ""), (count,), 0, "")
    ending = ending_of(name).lower()
    stem = name[: len(name) - len(ending)]
    version = _VERSION.search(stem)
    if version and (ending == ".ckpt" or re.search(r"[0-9]", stem[: version.start()])):
        stem = stem[: version.start()]
    else:
        version = None
    texts, numbers, start, told = list[str](), list[Number](), 0, 0
    for found in _PART.finditer(stem):
        number = _number(found, stem[max(start, told) : found.start()], stem[found.end() :])
        if number is not None:
            number = _after(numbers, stem[start : found.start()], number)
            texts.append(stem[start : found.start()])
            numbers.append(number)
            start = found.end()
            behind = _AFTER.match(stem, start)
            told = behind.end() if behind and behind[2].lower() == number.key else start
    return NameParts(
        (*texts, stem[start:]), _spelled_out(numbers), int(version[1]) if version else 0, ending
    )


def ending_of(name: str) -> str:
    """Return the suffixes of a name that belong to its format, as they are written."""
    match = _ENDING.search(name)
    return match[0] if match and match.start() else ""


def _after(before: Sequence[Number], between: str, number: Number) -> Number:
    """Return a number with the word of the one before it, as in `checkpoint_EPOCH_UPDATE`."""
    is_update = (
        bool(before)
        and not number.key
        and number.sort is Sort.COUNT
        and before[-1].step_word in ("checkpoint", "ckpt")
        and not between.strip(SEPARATORS)
    )
    return replace(number, key=before[-1].key) if is_update else number


def _spelled_out(numbers: Sequence[Number]) -> tuple[Number, ...]:
    """Return numbers with the words that `e1_b500` and `E1_I500` abbreviate: epoch, and batch."""
    letters = [_last_word(n.key) if n.is_glued and n.sort is Sort.COUNT else "" for n in numbers]
    for at, letter in enumerate(letters[1:], 1):
        if letter in _WITHIN and letters[at - 1] == "e":
            pair = zip(numbers[at - 1 : at + 1], ("epoch", _WITHIN[letter]), strict=True)
            spelled = [replace(n, key=n.key[:-1] + word) for n, word in pair]
            return (*numbers[: at - 1], *spelled, *numbers[at + 1 :])
    return tuple(numbers)


def _number(found: re.Match[str], before: str, after: str) -> Number | None:
    """Return a number of a name; None for the setting of a run, which stays as text."""
    word = _WORD.search(before)
    key, is_glued = (word[1].lower(), not word[2]) if word else ("", False)
    if found["hash"]:
        return Number(found[0], Sort.HASH, key, is_glued, Decimal(0))
    if found["date"]:
        parts = found["parts"] or ""  # of a second
        digits = re.sub("[^0-9]", "", found[0].removesuffix(parts)) + parts
        return Number(found[0], Sort.COUNT, "date", False, Decimal(digits))
    if found["release"]:
        parts = [Decimal(part) for part in found[0].split(".")]
        value = sum((part / 10 ** (9 * at) for at, part in enumerate(parts)), Decimal(0))
        return Number(found[0], Sort.COUNT, key, is_glued, value)
    behind = _AFTER.match(after)
    if behind and not is_glued and (not behind[1] or behind.end() == len(after)):
        key = behind[2].lower()
    text = found[0]
    unit = found["unit"] or ""
    value = Decimal(text.removesuffix(unit)) * _UNITS[unit]
    is_whole = value == value.to_integral_value()
    is_fraction = not is_whole or ("." in text and not re.search("[eE]", text))
    number = Number(text, Sort.COUNT, key, is_glued, value)
    if _MEASURE.search(key) or (is_fraction and not unit and not number.step_word):
        if _last_word(key) in SETTING_WORDS:
            return None
        return Number(text, Sort.MEASURE, key, is_glued, value)
    return None if not is_whole and not number.step_word else number


def _last_word(key: str) -> str:
    return re.split(r"[_-]", key)[-1]


def shared_folder(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the parts that paths have in common from the beginning, without their names."""
    first, last = min(paths)[:-1], max(paths)[:-1]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return tuple(part for part, _ in same)
