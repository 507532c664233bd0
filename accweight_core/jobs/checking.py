"""Check a run: did it train, what never moved, is it as expected.

`check` measures a run in memory, or takes an analysis, and returns its findings
(`analysis.findings`) together with the expectations that it breaks. Frozen is exact: every element
of every checkpoint has the same value as in the one before.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from accweight_core.analysis.analysis import Analysis, as_analysis
from accweight_core.analysis.findings import Finding, counted, listed
from accweight_core.analysis.movement import Movement, rounding
from accweight_core.analysis.reading import (
    buffers_of,
    findings_of,
    first_moves,
    nonfinite_buffers,
)
from accweight_core.arguments import brief
from accweight_core.errors import AccweightError, ArgumentTypeError, UnknownNameError
from accweight_core.jobs.pipeline import analyze
from accweight_core.metrics.totals import metrics_of
from accweight_core.runs.opening import Source, WeightsByStep
from accweight_core.schema import Parameter, Role, Run, TypeChange, in_short
from accweight_core.text import MOST_COMPARED, near

MOST_MODULES = 64
"""Modules around a parameter that patterns match; those of real networks are ten deep."""


@dataclass(frozen=True)
class Checked:
    """The result of `check`.

    Attributes:
        source: The run or the analysis, in words.
        summary: Checkpoints, steps, layers and parameters in a phrase.
        findings: What was found; what is wrong comes first.
        kept: Expectations that were kept, in sentences.
        notes: What could not be looked at, and why.
    """

    source: str
    summary: str
    findings: tuple[Finding, ...]
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong and every expectation was kept."""
        return not any(finding.is_wrong for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``check --json`` prints."""
        return {
            "source": self.source,
            "ok": self.ok,
            "findings": [finding.to_json() for finding in self.findings],
            "kept": list(self.kept),
            "notes": list(self.notes),
        }


def check(
    source: Analysis | Run | Source | WeightsByStep,
    *,
    expect_frozen: str | Iterable[str] = (),
    expect_moving: str | Iterable[str] = (),
    tolerance: float = 0.0,
    threads: int | None = None,
) -> Checked:
    """Return what a run shows, and whether it is as expected.

    Args:
        source: A run or its source, which is measured in memory; or an analysis, or its path.
        expect_frozen: Patterns of parameters that must have equal values in all checkpoints,
            buffers with numbers included. A pattern matches names of parameters, layers and the
            modules around them: "backbone" is all of `backbone.*`.
        expect_moving: Patterns of parameters each of which must have moved.
        tolerance: Frozen is then up to this displacement (`relative`: norm of the displacement
            over norm at the first checkpoint), and moving is beyond it.
        threads: Threads that measure, as in `analyze`.

    Raises:
        UnknownNameError: If a pattern matches no parameter.
        AccweightError: As in `open_run` and `analyze`.
    """
    checked_tolerance(tolerance)
    frozen, moving = _patterns(expect_frozen), _patterns(expect_moving)
    analysis = _analysis(source, threads)
    movement = Movement(analysis.header, analysis.values)
    found, notes = findings_of(analysis)
    buffers, damaged, unread = _buffers(analysis)
    found += damaged
    if unread and not notes:
        notes.append(unread)
    expected = _Expected(movement, buffers, tolerance)
    broken: list[Finding] = []
    kept: list[str] = []
    for pattern in frozen:
        broken += _unsaid(expected.frozen(pattern, analysis, kept), broken)
    for pattern in moving:
        broken += _unsaid(expected.moving(pattern, kept), broken)
    allowed = {p.name for pattern in frozen for p in expected.matching(pattern)}
    found = [_unless_expected(finding, movement, allowed) for finding in found]
    found = [finding for finding in found if not _is_told(finding, broken, allowed)]
    summary = in_short(analysis.steps, analysis.layers)
    ordered = sorted((*broken, *found), key=lambda finding: not finding.is_wrong)
    return Checked(str(analysis.header.source), summary, tuple(ordered), tuple(kept), tuple(notes))


def checked_tolerance(given: Any) -> float:
    """Return a tolerance.

    Raises:
        ArgumentTypeError: If it is not a number from 0 on.
    """
    if isinstance(given, (int, float)) and 0 <= given < math.inf:
        return float(given)
    raise ArgumentTypeError(f"the tolerance is a number from 0 on, got {brief(given)}")


def is_analysis(source: object) -> bool:
    """Tell whether a source is a stored analysis: a folder with a Zarr group in it."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    name = os.fspath(source)
    if not isinstance(name, str) or "://" in name:
        return False
    try:
        is_stored = (Path(name) / "zarr.json").is_file()
    except (OSError, ValueError):  # a name that the system cannot hold
        return False
    return is_stored or name.rstrip("/").endswith(".accw")


def _analysis(source: Any, threads: int | None) -> Analysis:
    if isinstance(source, Analysis) or is_analysis(source):
        return as_analysis(source)
    return analyze(source, threads=threads)


def _patterns(given: str | Iterable[str]) -> tuple[str, ...]:
    patterns = (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ArgumentTypeError(f"a pattern of names is text, got {type(pattern).__name__}")
    return patterns


def _buffers(analysis: Analysis) -> tuple[list[Parameter], list[Finding], str]:
    """Return buffers that were not measured, NaN in them, and why they could not be had."""
    measured = {parameter.name for parameter in analysis.parameters}
    buffers: list[Parameter] = []
    try:
        found = buffers_of(analysis.checkpoint(0))
        buffers = [buffer for buffer in found if buffer.name not in measured]
        checkpoints = analysis.run().checkpoints if buffers else ()
        return buffers, [*nonfinite_buffers(checkpoints, buffers)], ""
    except AccweightError as error:
        return buffers, [], f"buffers were not looked at: {error}"


def _unless_expected(finding: Finding, movement: Movement, allowed: set[str]) -> Finding:
    """Return a finding that is not wrong if all it is about was expected to be frozen."""
    trained = {movement.parameter(index).name for index in movement.trained}
    about = set(finding.parameters) if finding.kind == "lora_b_zero" else trained
    if finding.kind in ("nothing_moved", "stopped", "lora_b_zero") and about <= allowed:
        return replace(finding, is_wrong=False)
    return finding


def _unsaid(findings: Iterable[Finding], before: Sequence[Finding]) -> list[Finding]:
    """Return findings but those about parameters that one of the same kind has named."""
    return [
        finding
        for finding in findings
        if not any(
            earlier.kind == finding.kind and set(finding.parameters) <= set(earlier.parameters)
            for earlier in before
        )
    ]


def _is_told(finding: Finding, broken: Sequence[Finding], frozen: set[str]) -> bool:
    """Tell whether expectations, broken or kept, say the same as a finding."""
    if finding.kind not in ("frozen", "partly_frozen", "buffers_moved"):
        return False
    told = {name for each in broken for name in each.parameters}
    if finding.kind != "buffers_moved" and not any(b.kind == "expected_frozen" for b in broken):
        told |= frozen
    return told.issuperset(finding.parameters)


def matches(parameter: Parameter, pattern: str) -> bool:
    """Tell whether a pattern matches a parameter, its layer, or a module around them."""
    return any(fnmatchcase(name, pattern) for name in _names_of(parameter))


def _names_of(parameter: Parameter) -> list[str]:
    """Return the names of the modules around a parameter, its own, and that of its layer."""
    parts = parameter.name.split(".", MOST_MODULES)
    return [*accumulate(parts, lambda before, part: f"{before}.{part}"), parameter.layer]


def near_names(pattern: str, among: Sequence[Parameter]) -> list[str]:
    """Return some names of modules and parameters that a pattern may have meant.

    They contain what it says, or are spelt nearly so.
    """
    said = re.sub(r"[*?\[\]]+", "", pattern).strip(".")
    names = list(dict.fromkeys(name for parameter in among for name in _names_of(parameter)))
    ends = {name.lower().rpartition(".")[2]: name for name in reversed(names[:MOST_COMPARED])}
    return near(said, names, ends)


class _Expected:
    """Expectations, judged by the sums of an analysis and by the values of its buffers."""

    def __init__(self, movement: Movement, buffers: Sequence[Parameter], tolerance: float) -> None:
        self._movement = movement
        self._buffers = buffers
        self._tolerance = tolerance
        self._places = {p.name: i for i, p in enumerate(movement.header.parameters)}
        elements = np.array([p.elements for p in movement.header.parameters], dtype=np.int64)
        self._relative = metrics_of(elements, movement.values, ["relative"])["relative"]

    def matching(self, pattern: str, *, trained_only: bool = False) -> list[Parameter]:
        """Return the parameters that a pattern matches, measured ones first.

        Raises:
            UnknownNameError: If there are none.
        """
        measured = [p for p in self._movement.header.parameters if p.elements]
        if trained_only:
            measured = [p for p in measured if p.role is not Role.BUFFER]
        among = measured if trained_only else [*measured, *self._buffers]
        found = [parameter for parameter in among if matches(parameter, pattern)]
        if not found:
            names = [parameter.name for parameter in among]
            close = near_names(pattern, among)
            suggested = f"did you mean {' or '.join(close)}? " if close else ""
            raise UnknownNameError(
                f"the pattern {pattern!r} matches no parameter; {suggested}parameters are "
                f"{listed(names)}"
            )
        return found

    def frozen(self, pattern: str, analysis: Analysis, kept: list[str]) -> Iterator[Finding]:
        """Yield a finding if something that must be frozen has moved, else note it as kept."""
        found = self.matching(pattern)
        moved = {p.name: at for p in found if (at := self._first_move(p.name)) is not None}
        unmeasured = [p.name for p in found if p.name not in self._places]
        if unmeasured:
            moved |= first_moves(analysis.run().checkpoints, unmeasured)
        if not moved:
            how = "equal in every checkpoint"
            if self._tolerance:
                how = f"moved by {self._tolerance:g} of their norm at most"
            kept.append(f"{pattern} is frozen: {counted(len(found), 'parameter')} {how}")
            return
        names = tuple(p.name for p in found if p.name in moved)
        step = min(moved.values())
        text = (
            f"expected to be frozen: {pattern}, but {len(names)} of "
            f"{counted(len(found), 'parameter')} moved, from step {step} on: {listed(names)}"
        )
        if all(name in unmeasured for name in names):
            text += " (running statistics; call eval() on frozen norms)"
        elif change := self._rounded_by(names):
            text += (
                f" (rounding: the element type changes from {change.before} to {change.after}; "
                f"--tolerance {rounding(change):.2g} allows it)"
            )
        layers = dict.fromkeys(p.layer for p in found if p.name in moved)
        yield Finding("expected_frozen", text, step, tuple(layers), names, is_wrong=True)

    def moving(self, pattern: str, kept: list[str]) -> Iterator[Finding]:
        """Yield a finding if something that must move did not, else note it as kept."""
        found = self.matching(pattern, trained_only=True)
        still = [p for p in found if self._first_move(p.name) is None]
        if not still:
            kept.append(f"{pattern} moved: {counted(len(found), 'parameter')}")
            return
        names = tuple(parameter.name for parameter in still)
        text = (
            f"expected to move: {pattern}, but {len(names)} of "
            f"{counted(len(found), 'parameter')} never did: {listed(names)}"
        )
        layers = dict.fromkeys(parameter.layer for parameter in still)
        yield Finding("expected_moving", text, None, tuple(layers), names, is_wrong=True)

    def _rounded_by(self, names: Sequence[str]) -> TypeChange | None:
        """Return the change of the element type whose rounding is all that parameters moved by."""
        for change in self._movement.header.type_changes:
            if set(names) <= set(change.parameters) and all(
                self._movement.is_rounding(self._places[name], change) for name in names
            ):
                return change
        return None

    def _first_move(self, name: str) -> int | None:
        """Return the step at which a measured parameter has first moved; None if it never did."""
        index = self._places.get(name)
        if index is None:
            return None
        moved = self._movement.moved[:, index]
        if self._tolerance:
            far = ~(self._relative[:, index] <= self._tolerance)
            moved = far & np.logical_or.accumulate(moved)
        places = np.flatnonzero(moved)
        return self._movement.steps[int(places[0])] if places.size else None
