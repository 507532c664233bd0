"""Step order: which integer orders the checkpoints, and where it was found.

The number stored inside the files counts first, then a named number in their paths
(``epoch=3``, ``checkpoint-500``), then the natural order of their names. One origin serves a
whole run: mixing epochs of one file with iterations of another would order nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accweight_core.naming import natural_key
from accweight_core.schema import Description

PATH_KEYS = ("global_step", "global-step", "step", "steps", "iteration", "iter", "it", "epoch",
             "ep", "checkpoint", "ckpt", "round")  # fmt: skip
"""Named numbers in paths, best first."""

LARGEST = 10**18
"""Numbers above are identifiers, not steps."""

_SPECIAL = re.compile(r"(^|[^a-z])(last|latest|best|final|newest)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One checkpoint before it has a step."""

    path: Path
    description: Description

    @property
    def is_special(self) -> bool:
        """Whether the name says 'last' or 'best': likely a copy of another checkpoint."""
        return bool(_SPECIAL.search(self.path.name) or _SPECIAL.search(self.path.parent.name))


@dataclass(frozen=True)
class Placed:
    """One checkpoint with its step and where that was found."""

    found: Found
    step: int
    source: str


def placed(found: Sequence[Found], *, in_given_order: bool = False) -> list[Placed]:
    """Give every checkpoint a step, ascending.

    Args:
        found: The checkpoints, in the order in which the user named them.
        in_given_order: Keep that order whatever files and names say.

    Returns:
        In step order. Two may have the same step; the caller decides what that means.
    """
    if in_given_order:
        return [Placed(item, index, "order given") for index, item in enumerate(found)]
    for attempt in (_inside, _in_path, _numbered):
        steps = attempt(found)
        if steps is not None:
            ordered = [Placed(f, s, source) for f, (s, source) in zip(found, steps, strict=True)]
            return sorted(ordered, key=lambda p: (p.step, p.found.is_special, p.found.path.name))
    by_name = sorted(found, key=lambda f: natural_key(str(f.path)))
    return [Placed(item, i, "natural order of names") for i, item in enumerate(by_name)]


def _inside(found: Sequence[Found]) -> list[tuple[int, str]] | None:
    """Return the steps stored in the files, None unless all have one and they tell them apart."""
    steps = [f.description.step for f in found]
    keys = {f.description.step_key for f in found}
    known = [step for step in steps if step is not None and abs(step) <= LARGEST]
    if len(known) < len(found) or len(keys) > 1 or not _tell_apart(found, known):
        return None
    return [(step, f"in file: {next(iter(keys))}") for step in known]


def _in_path(found: Sequence[Found]) -> list[tuple[int, str]] | None:
    """Return the steps named in the paths, by the best key that all paths have."""
    for key in PATH_KEYS:
        pattern = re.compile(rf"(?<![a-z]){key}s?[=_\-. ]?0*(\d+)", re.IGNORECASE)
        matches = [_last_match(pattern, f.path) for f in found]
        numbers = [int(match[1]) for match in matches if match]
        if len(numbers) == len(found) and max(numbers) <= LARGEST and _tell_apart(found, numbers):
            return [(number, f"in name: {key}") for number in numbers]
    return None


def _last_match(pattern: re.Pattern[str], path: Path) -> re.Match[str] | None:
    """Return the last match in the file's name, else in its folder's name."""
    for part in (path.name, path.parent.name):
        matches = list(pattern.finditer(part))
        if matches:
            return matches[-1]
    return None


def _numbered(found: Sequence[Found]) -> list[tuple[int, str]] | None:
    """Return the one number in which otherwise equal names differ."""
    if len(found) < 2:
        return None
    split = [re.split(r"(\d+)", "/".join(f.path.parts[-2:])) for f in found]
    if len({len(parts) for parts in split}) > 1:
        return None
    columns = list(zip(*split, strict=True))
    differing = [column for column in columns if len(set(column)) > 1]
    if len(differing) != 1 or not all(text.isdecimal() for text in differing[0]):
        return None
    if max(map(len, differing[0])) > 18:
        return None
    return [(int(text), "number in name") for text in differing[0]]


def _tell_apart(found: Sequence[Found], steps: Sequence[int]) -> bool:
    """Tell whether steps differ, leaving aside files that are likely copies."""
    plain = [step for f, step in zip(found, steps, strict=True) if not f.is_special]
    return len(set(plain)) == len(plain) or len(set(plain)) > len(plain) // 2
