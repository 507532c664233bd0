"""Probes of weights beside an analysis: what they need of all steps is observed in its walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from accweight_core.accumulate.grams import Grams
from accweight_core.cli import output

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.analysis.probe_results import ProbeResult
    from accweight_core.probes.probe import Probe
    from accweight_core.schema import Run

Results = Mapping[str, "ProbeResult"]


@dataclass(frozen=True)
class WalkedProbes:
    """The probes that `accweight analyze` is asked for.

    Attributes:
        probes: All of them; none needs a network.
    """

    probes: tuple[Probe, ...] = ()

    @classmethod
    def of(cls, asked: Sequence[str]) -> WalkedProbes:
        """Return them, from texts such as "trajectory:components=4".

        Raises:
            UsageError: If one runs the network.
            AccweightError: If there is no such probe or option.
        """
        if not asked:
            return cls()
        from accweight_core.probes.options import as_probes
        from accweight_core.probes.probe import RUNS_NETWORK

        probes = as_probes(list(asked))
        for one in probes:
            if one.needs & RUNS_NETWORK:
                raise click.UsageError(
                    f"probe {one.name!r} runs the network, which needs --model and --data: "
                    "accweight probe takes them, once the run is analysed"
                )
        return cls(tuple(probes))

    def observer(self, run: Run) -> Grams | None:
        """Return who observes the walk of a run; None if no probe needs it."""
        if not any(one.takes_grams for one in self.probes):
            return None
        return Grams(len(run.checkpoints))

    def evaluated(self, analysis: Analysis, observer: Grams | None) -> Results:
        """Return the results of the probes, which are stored in the analysis."""
        if not self.probes:
            return {}
        from accweight_core.probes.running import probe

        with output.progress("probe", "batches") as advance:
            return probe(
                analysis, probes=self.probes, grams=observer, progress=advance,
                notice=output.remark,
            )  # fmt: skip

    def document(self, results: Results) -> dict[str, Any]:
        """Return what is added to the JSON of the analysis; nothing without probes."""
        if not self.probes:
            return {}
        from accweight_core.cli.probes import results_json

        return results_json(results)

    def page(self, results: Results) -> output.Page:
        """Return the lines about the results."""
        if not self.probes:
            return []
        from accweight_core.cli.probes import page

        return ["", *(line for result in results.values() for line in page(result))]
