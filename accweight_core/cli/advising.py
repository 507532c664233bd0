"""The command that gives advice on a run: `advise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.analysis.advice.advise import Advice
    from accweight_core.analysis.advice.rules import Rule
    from accweight_core.cli.output import Page


@click.command()
@click.argument("analysis", type=options.FILE, required=False, help="An analysis (NAME.accw).")
@click.option("--rules", is_flag=True, help="List the rules instead: thresholds, source, standing.")
@options.as_json
def advise(analysis: Path | None, *, rules: bool, json: bool) -> None:
    """Say what the numbers of a run suggest, on what evidence, and how to test it.

    All but what is certain are hypotheses. Nothing is said that the numbers do not carry.
    """
    from accweight_core.analysis.advice.rules import RULES
    from accweight_core.cli import output

    if rules:
        output.show({"rules": [_rule_json(r) for r in RULES]} if json else _rules_page(RULES))
        return
    if analysis is None:
        raise click.UsageError("advise takes an analysis (NAME.accw), or --rules")
    from accweight_core.analysis.advice.advise import advice_from, silent
    from accweight_core.analysis.advice.facts import facts_of
    from accweight_core.analysis.analysis import open_analysis

    opened = open_analysis(analysis)
    facts = facts_of(opened)
    given, quiet = advice_from(facts), list(silent(facts))
    if json:
        output.show(
            {
                "source": opened.header.source,
                "advice": [one.to_json() for one in given],
                "silent": quiet,
            }
        )
    else:
        output.show(_page(opened.header.source, given, quiet))


def _page(source: str, given: tuple[Advice, ...], quiet: list[str]) -> Page:
    """Return what ``advise`` prints."""
    from accweight_core.analysis.advice.rules import HYPOTHESIS
    from accweight_core.text import plain

    lines = []
    for number, advice in enumerate(given, start=1):
        lines += ["", f"{number}. {plain(advice.title)} ({advice.how_sure})"]
        lines += [f"   evidence: {plain(advice.text)}"]
        lines += [f"   {word}: {plain(text)}" for word, text in advice.details]
    guesses = sum(advice.rule.kind == HYPOTHESIS for advice in given)
    heading = f"{plain(source)}: {len(given)} piece{'s' * (len(given) != 1)} of advice"
    if not given:
        heading = f"{plain(source)}: no rule holds, so there is no advice"
    if guesses:
        kind = "a hypothesis" if guesses == 1 else "hypotheses"
        share = f"{guesses} of them " if guesses < len(given) else ""
        heading += f", {share}{kind} to be tested"
    return [heading, *lines, "", *(f"note: {plain(line)}" for line in quiet)]


def _rule_json(rule: Rule) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(rule)


def _rules_page(rules: tuple[Rule, ...]) -> Page:
    lines: list[str] = []
    for rule in rules:
        limits = ", ".join(f"{name} {value:.3g}" for name, value in rule.thresholds.items())
        needs = f"{rule.fewest_steps} checkpoints" + ", rewind" * rule.needs_criticality
        lines += [
            f"{rule.name}: {rule.title} ({rule.kind})",
            f"   holds from: {limits or 'always'}; needs {needs}",
            f"   {'so' if rule.kind == 'fact' else 'perhaps'}: {rule.suggestion}",
            f"   test: {rule.test}",
            f"   wrong if: {rule.refuted_by}",
            f"   source: {rule.source}",
            f"   standing: {rule.standing}",
            "",
        ]
    return lines[:-1]
