"""Advice on a run: the rules that hold, each with its evidence and a way to test it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accweight_core.analysis.advice.cases import FINDERS, Case
from accweight_core.analysis.advice.facts import Facts, facts_of
from accweight_core.analysis.advice.rules import FACT, RULES, Rule
from accweight_core.analysis.findings import listed

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

STRONG, MODERATE = 2.0, 1.3
"""How many times a value is beyond its threshold from which evidence is strong, or moderate."""

FAR = 99
"""Times a threshold from which it is not counted how many."""

SHOWN = 3
"""Layers whose evidence is told in a sentence; `Advice.evidence` has all."""


@dataclass(frozen=True)
class Advice:
    """One rule that holds, with all layers it holds for.

    Attributes:
        rule: The rule.
        cases: Where it holds, the strongest case first.
    """

    rule: Rule
    cases: tuple[Case, ...]

    @property
    def title(self) -> str:
        """What is the case, and in which layers."""
        layers = self.layers
        return f"{self.rule.title}: {listed(layers)}" if layers else self.rule.title

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, the strongest case first; none if it is about the run."""
        return tuple(dict.fromkeys(case.layer for case in self.cases if case.layer))

    @property
    def step(self) -> int | None:
        """The step of the strongest case."""
        return self.cases[0].step

    @property
    def strength(self) -> str:
        """How strong the evidence is: "certain", "strong", "moderate" or "weak"."""
        if self.rule.kind == FACT:
            return "certain"
        beyond = max(case.beyond for case in self.cases)
        return "strong" if beyond >= STRONG else "moderate" if beyond >= MODERATE else "weak"

    @property
    def how_sure(self) -> str:
        """Whether it is certain, or how far beyond its threshold a hypothesis is."""
        if self.rule.kind == FACT:
            return "certain"
        beyond = max(case.beyond for case in self.cases)
        times = f"{beyond:.2g}" if beyond < FAR else f"over {FAR}"
        return f"a hypothesis; {times} times its threshold"

    @property
    def text(self) -> str:
        """The evidence, in words."""
        texts = list(dict.fromkeys(case.text for case in self.cases))
        if len(texts) == 1:
            return texts[0]
        told = [f"{case.layer}: {case.text}" for case in self.cases[:SHOWN]]
        more = len(self.cases) - SHOWN
        return "; ".join([*told, f"and {more} more"] if more > 0 else told)

    @property
    def details(self) -> tuple[tuple[str, str], ...]:
        """What to do, how to test it, what would refute it, and what is known of the rule itself.

        Returns:
            Pairs of a word and a text.
        """
        so = "so" if self.rule.kind == FACT else "perhaps"
        return (
            (so, self.rule.suggestion),
            ("test", self.rule.test),
            ("wrong if", self.rule.refuted_by),
            ("source", self.rule.source),
            ("standing", self.rule.standing),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rule": self.rule.name,
            "title": self.title,
            "kind": self.rule.kind,
            "layers": list(self.layers),
            "step": self.step,
            "strength": self.strength,
            "text": self.text,
            "evidence": [
                {"layer": c.layer, "step": c.step, "beyond": _finite(c.beyond), **c.numbers}
                for c in self.cases
            ],
            "suggestion": self.rule.suggestion,
            "test": self.rule.test,
            "refuted_by": self.rule.refuted_by,
            "source": self.rule.source,
            "thresholds": dict(self.rule.thresholds),
            "standing": self.rule.standing,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def advise(
    analysis: Analysis | str | os.PathLike[str], criticality: Any = None
) -> tuple[Advice, ...]:
    """Return what the numbers of a run suggest; what is certain comes first, then the strongest.

    All but the facts are hypotheses: each says how to test it and what would refute it.

    Args:
        analysis: An analysis, or its path.
        criticality: What is lost when a layer is put back to a step, as a table with the columns
            layer, step and value; by default the results of the probe `rewind`, if there are any.

    Raises:
        StoreError: If there is no analysis at the path.
        ArgumentTypeError: If the criticality lacks a column.
    """
    from accweight_core.analysis.analysis import as_analysis

    return advice_from(facts_of(as_analysis(analysis), criticality))


def advice_from(facts: Facts) -> tuple[Advice, ...]:
    """Return the rules that hold for these facts; see `advise`."""
    found = [Advice(rule, cases) for rule in RULES if (cases := _cases(facts, rule))]
    return tuple(sorted(found, key=lambda advice: _ORDER.index(advice.strength)))


_ORDER = ("certain", "strong", "moderate", "weak")


def _cases(facts: Facts, rule: Rule) -> tuple[Case, ...]:
    """Return where a rule holds, the strongest case first."""
    if len(facts.steps) < rule.fewest_steps:
        return ()
    if rule.needs_criticality and not facts.criticality:
        return ()
    found = list(FINDERS[rule.name](facts, rule))
    return tuple(sorted(found, key=lambda case: -case.beyond if case.beyond > 0 else 0.0))


def silent(facts: Facts) -> Sequence[str]:
    """Return why some rules had nothing to say, and what others rest on, in sentences."""
    steps = len(facts.steps)
    short = [rule for rule in RULES if steps < rule.fewest_steps]
    lines = []
    if short:
        most = max(rule.fewest_steps for rule in short)
        lines.append(f"{len(short)} rules need up to {most} checkpoints, and there are {steps}")
    if facts.criticality and facts.proof not in ("", "verified"):
        lines.append(
            "what putting a layer back loses was measured with weights whose places in the "
            f"network are {facts.proof}"
        )
    if not facts.criticality:
        count = sum(rule.needs_criticality for rule in RULES)
        lines.append(
            f"{count} rules need to know what is lost when a layer is put back (rewind), "
            "which has not been measured"
        )
    return lines
