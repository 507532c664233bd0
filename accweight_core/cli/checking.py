"""The command that says what is wrong with a run, with an exit code for scripts: `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from accweight_core.cli import options
from accweight_core.cli.options import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accweight_core.analysis.findings import Finding
    from accweight_core.cli.output import Page
    from accweight_core.jobs.checking import Checked
    from accweight_core.runs.selection import Selection

MOST_LINES = 6
"""Findings that `analyze` prints; `check` prints all."""

GRAVE = ("nonfinite", "nothing_moved", "stopped", "lora_b_zero")
"""Kinds that `rank` prints too: with them, the ranking means little."""


@click.command()
@options.source
@options.takes_selection
@click.option(
    "--expect-frozen",
    multiple=True,
    metavar="PATTERN",
    help="Layers or parameters that must be equal in every checkpoint.",
)
@click.option(
    "--expect-moving",
    multiple=True,
    metavar="PATTERN",
    help="Layers or parameters that must all have moved.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SHARE",
    help="Count displacements up to this share of the norm as frozen.",
)
@options.threads
@options.as_json
def check(
    source: tuple[str, ...],
    selection: Selection,
    expect_frozen: tuple[str, ...],
    expect_moving: tuple[str, ...],
    tolerance: float,
    threads: int | None,
    *,
    json: bool,
) -> None:
    """Say what is wrong with a run: did it train, what never moved, first NaN.

    SOURCE is checkpoints, or an analysis (NAME.accw). Exit code 0 if nothing is wrong and all is as
    expected, else 1.
    """
    from accweight_core.cli import output
    from accweight_core.jobs.checking import check as checked
    from accweight_core.jobs.checking import is_analysis
    from accweight_core.runs.opening import selected_run

    stored = len(source) == 1 and is_analysis(source[0])
    run = source[0] if stored else selected_run(named(source), selection)
    result = checked(
        run,
        expect_frozen=expect_frozen,
        expect_moving=expect_moving,
        tolerance=tolerance,
        threads=threads,
    )
    output.show(result.to_json() if json else checked_page(result))
    if not result.ok:
        raise SystemExit(1)


def checked_page(result: Checked) -> Page:
    """Return what ``check`` prints: the run, findings, expectations kept, and the verdict."""
    from accweight_core.text import plain

    lines = [f"{plain(result.source)}: {result.summary}", ""]
    lines += [_line(finding) for finding in result.findings]
    lines += [f"kept: {plain(text)}" for text in result.kept]
    lines += [f"note: {plain(text)}" for text in result.notes]
    wrong = sum(finding.is_wrong for finding in result.findings)
    if len(lines) > 2:
        lines.append("")
    return [
        *lines,
        "ok" if not wrong else f"not ok: {wrong} {'thing' if wrong == 1 else 'things'} wrong",
    ]


def _line(finding: Finding) -> str:
    from accweight_core.text import plain

    return f"{'wrong' if finding.is_wrong else 'note'}: {plain(finding.text)}"


def findings_lines(found: Sequence[Finding], path: object = None) -> list[str]:
    """Return the findings that ``analyze`` prints below its table, the gravest first.

    Discontinuities are left out: they are warnings of the analysis, and printed as such.
    """
    from accweight_core.text import plain

    told = [finding for finding in found if finding.kind != "discontinuity"]
    lines = [plain(finding.text) for finding in told[:MOST_LINES]]
    if told[MOST_LINES:]:
        where = plain(path) if path else "SOURCE"
        lines.append(f"{len(told) - MOST_LINES} more with: accweight check {where}")
    return lines
