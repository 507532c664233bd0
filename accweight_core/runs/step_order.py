"""Find the steps of checkpoints and sort by them.

A step stored in the files is used first, then a named number in their paths (``epoch=3``,
``checkpoint-500``), then the natural order of their names. All steps of a run have the same origin,
because epochs of one file and iterations of another are not comparable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accweight_core.errors import StepOrderError
from accweight_core.naming import natural_key
from accweight_core.schema import Description, Stamp

PATH_KEYS = ("global_step", "global-step", "step", "steps", "iteration", "iter", "it", "epoch",
             "ep", "checkpoint", "ckpt", "round")  # fmt: skip
"""Names of numbers in paths, in order of preference."""

LARGEST = 2**62
"""Limit of steps in names; larger numbers are dates, sizes or hashes."""

Step = tuple[int, str]
"""A step and where it was found."""

_INITIAL = re.compile(r"(^|[^a-z])(init|initial|untrained)([^a-z]|$)", re.IGNORECASE)
_SPECIAL = re.compile(r"(^|[^a-z])(last|latest|best|final|newest)([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A described checkpoint without a step."""

    path: Path
    description: Description
    stamps: Mapping[str, Stamp] = field(default_factory=dict)

    @property
    def is_special(self) -> bool:
        """Whether the name includes 'last' or 'best', so it is probably a copy of another one."""
        return bool(_SPECIAL.search(self.path.name) or _SPECIAL.search(self.path.parent.name))


@dataclass(frozen=True)
class Placed:
    """A checkpoint with its step and the origin of that."""

    found: Found
    step: int
    source: str


@dataclass(frozen=True)
class Order:
    """Checkpoints in step order, and those without a step."""

    placed: list[Placed]
    without_step: list[Found]


def order_of(found: Sequence[Found], *, in_given_order: bool = False) -> Order:
    """Find the step of every checkpoint, and sort by it.

    Args:
        found: The checkpoints, in the order given by the user.
        in_given_order: Whether to keep that order and number the checkpoints from 0.

    Returns:
        Checkpoints in step order. Several may have the same step; the caller must handle that.

    Raises:
        StepOrderError: If the checkpoints seem to come from several runs.
    """
    if in_given_order:
        return Order([Placed(item, i, "order given") for i, item in enumerate(found)], [])
    attempts = (_inside, _in_path, _numbered)
    for complete in (True, False):
        for attempt in attempts:
            steps = attempt(found)
            known = [(f, s) for f, s in zip(found, steps, strict=True) if s is not None]
            if _orders(found, known, complete):
                ordered = [Placed(f, step, source) for f, (step, source) in known]
                ordered += _first(found, steps, ordered)
                chosen = {p.found.path for p in ordered}
                ordered.sort(key=lambda p: (p.step, p.found.is_special, p.found.path.name))
                return Order(ordered, [f for f in found if f.path not in chosen])
    return Order(_unnumbered(found), [])


def _orders(found: Sequence[Found], known: Sequence[tuple[Found, Step]], complete: bool) -> bool:
    """Tell whether the steps are distinct, and known for all, or for most and at least two."""
    if complete:
        return len(known) == len(found) and _tell_apart(known)
    return len(known) > max(1, len(found) // 2) and _tell_apart(known)


def _first(
    found: Sequence[Found], steps: Sequence[Step | None], ordered: Sequence[Placed]
) -> list[Placed]:
    """Return the initial weights at step 0, if a name says so and the other steps are larger."""
    left = [f for f, step in zip(found, steps, strict=True) if step is None]
    initial = [f for f in left if _INITIAL.search(f.path.stem)]
    if len(initial) != 1 or min(p.step for p in ordered) <= 0:
        return []
    return [Placed(initial[0], 0, "in name: initial weights")]


def _unnumbered(found: Sequence[Found]) -> list[Placed]:
    """Order by name, or keep the given order if the files were given one by one in another one."""
    _check_one_run(found)
    names = [str(f.path) for f in found]
    by_name = sorted(found, key=lambda f: natural_key(str(f.path)))
    if names not in (sorted(names), [str(f.path) for f in by_name]):
        return [Placed(item, index, "order given") for index, item in enumerate(found)]
    return [Placed(item, i, "natural order of names") for i, item in enumerate(by_name)]


def _check_one_run(found: Sequence[Found]) -> None:
    """Raise if two folders have files of the same name and step, as of several runs."""
    for steps in (_inside(found), _in_path(found)):
        first: dict[int, Found] = {}
        for item, step in zip(found, steps, strict=True):
            if step is None:
                break
            twin = first.setdefault(step[0], item)
            if twin.path.parent != item.path.parent and twin.path.name == item.path.name:
                raise StepOrderError(
                    f"two checkpoints claim step {step[0]} ({step[1]}): {twin.path} and "
                    f"{item.path}; they look like different runs: name the folder of one, "
                    "or give the files in order with --given-order"
                )


def _inside(found: Sequence[Found]) -> list[Step | None]:
    """Return the steps stored in the files under the key that most of them have."""
    keys = [f.description.step_key for f in found if f.description.step is not None]
    key = max(set(keys), key=lambda k: (keys.count(k), k), default="")
    return [
        (f.description.step, f"in file: {key}")
        if f.description.step is not None and f.description.step_key == key
        else None
        for f in found
    ]


def _in_path(found: Sequence[Found]) -> list[Step | None]:
    """Return the steps in the paths, by the first key that orders all files, or else most."""
    tries = [_by_key(found, key) for key in PATH_KEYS]
    for complete in (True, False):
        for steps in tries:
            known = [(f, s) for f, s in zip(found, steps, strict=True) if s is not None]
            if _orders(found, known, complete):
                return steps
    return max(tries, key=lambda steps: sum(step is not None for step in steps))


def _by_key(found: Sequence[Found], key: str) -> list[Step | None]:
    pattern = re.compile(rf"(?<![a-z]){key}s?(?:=(-?\d+)|[_\-. ]?(\d+))", re.IGNORECASE)
    matches = [_last_match(pattern, f.path) for f in found]
    return [_step(match[1] or match[2], f"in name: {key}") if match else None for match in matches]


def _step(digits: str, source: str) -> Step | None:
    number = int(digits)
    return (number, source) if abs(number) < LARGEST else None


def _last_match(pattern: re.Pattern[str], path: Path) -> re.Match[str] | None:
    """Return the last match in the file's name, or else in its folder's name."""
    for part in reversed(_naming_parts(path)):
        matches = list(pattern.finditer(part))
        if matches:
            return matches[-1]
    return None


def _naming_parts(path: Path) -> tuple[str, ...]:
    """Return the parts of a path that may name a checkpoint: the file's name and its folder's.

    A mark file may be one folder deeper, in an item of a checkpoint: `1000/default/_METADATA`.
    """
    is_mark = re.search(r"\d|[^.]\.", path.name) is None
    is_item = is_mark and not re.search(r"\d", path.parent.name)
    return path.parts[-3 if is_item and not _SPECIAL.search(path.parent.name) else -2 :]


def _numbered(found: Sequence[Found]) -> list[Step | None]:
    """Return the number in the names if they differ in nothing else; None for probable copies."""
    nothing: list[Step | None] = [None] * len(found)
    plain = [f for f in found if re.search(r"\d", f.path.name) and not f.is_special]
    plain = plain or list(found)
    split = {f.path: re.split(r"(\d+)", "/".join(_naming_parts(f.path))) for f in plain}
    if len(plain) < 2 or len({len(parts) for parts in split.values()}) > 1:
        return nothing
    columns = list(zip(*split.values(), strict=True))
    differing = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    if len(differing) != 1 or not all(text.isdecimal() for text in columns[differing[0]]):
        return nothing
    return [
        _step(split[f.path][differing[0]], "number in name") if f.path in split else None
        for f in found
    ]


def _tell_apart(known: Sequence[tuple[Found, Step]]) -> bool:
    """Tell whether most steps are distinct, ignoring files that are probably copies."""
    plain = [step for f, (step, _) in known if not f.is_special] or [step for _, (step, _) in known]
    return len(set(plain)) == len(plain) or len(set(plain)) > len(plain) // 2
