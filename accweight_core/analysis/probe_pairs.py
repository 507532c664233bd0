"""Results of the same probes in two runs, which are shown side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from accweight_core.analysis.probe_results import ProbeResult, Probes
from accweight_core.errors import UnknownNameError


class ProbePair(NamedTuple):
    """What one probe found in two runs.

    Attributes:
        a: Of the first run.
        b: Of the second one.
    """

    a: ProbeResult
    b: ProbeResult

    @property
    def differing(self) -> list[str]:
        """Names of the options that differ."""
        names = dict.fromkeys([*self.a.options, *self.b.options])
        return [name for name in names if self.a.options.get(name) != self.b.options.get(name)]


def probe_pairs(a: Probes, b: Probes, names: Sequence[str]) -> dict[str, ProbePair]:
    """Return what both runs have found, by the name of the first run's result.

    Of results of one probe, those of the same options belong together; if there are none, the
    latest of each run do.

    Args:
        a: The results of the first run.
        b: Those of the second one.
        names: The runs, for messages.

    Raises:
        UnknownNameError: If there is no probe that both have results of.
        StoreError: If a result is damaged.
    """
    found: dict[str, ProbePair] = {}
    for name, left in a.items():
        others = [one for one in b.values() if one.name == left.name and len(one.steps)]
        equal = [one for one in others if one.options == left.options]
        if equal and len(left.steps):
            found[name] = ProbePair(left, equal[-1])
    told = {pair.a.name for pair in found.values()}
    for name in dict.fromkeys(one.name for one in a.values()):
        if name not in told and any(one.name == name for one in b.values()):
            latest = ProbePair(a[name], b[name])
            if len(latest.a.steps) and len(latest.b.steps):
                found[name] = latest
    if not found:
        known = [", ".join(one) or "none" for one in (a, b)]
        raise UnknownNameError(
            f"no probe has results in both runs: {names[0]} has {known[0]}, "
            f"{names[1]} has {known[1]}; accweight probe computes them"
        )
    return found
