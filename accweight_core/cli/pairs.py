"""`compare` of two checkpoints: what changed from the one to the other."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accweight_core.analysis.findings import listed
from accweight_core.analysis.reading import findings_of
from accweight_core.cli import rankings
from accweight_core.cli.checking import findings_lines
from accweight_core.errors import MismatchError
from accweight_core.jobs.checking import is_analysis
from accweight_core.jobs.pipeline import analyze
from accweight_core.metrics.table import checked_metric
from accweight_core.naming import layers_of
from accweight_core.remote import is_url, shown
from accweight_core.runs.opening import selected_run, survey
from accweight_core.runs.selection import Selection
from accweight_core.schema import MEASURED_ROLES, Checkpoint, Parameter
from accweight_core.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accweight_core.analysis.analysis import Analysis
    from accweight_core.cli.output import Page


def are_checkpoints(a: str, b: str) -> bool:
    """Tell whether two sources are one checkpoint each; False for two analyses.

    Raises:
        MismatchError: If a source is a run that must be analysed first; says the commands.
        SourceError: If a source does not exist or has no checkpoints.
    """
    amounts = [_checkpoints(source) for source in (a, b)]
    if amounts == [1, 1] or amounts == [0, 0]:
        return amounts == [1, 1]
    if 1 in amounts:
        one, other = (a, b) if amounts[0] == 1 else (b, a)
        kind = "several" if max(amounts) > 1 else "an analysis"
        raise MismatchError(
            f"{shown(one)} is one checkpoint and {shown(other)} is {kind}; compare takes two "
            "analyses, or two single checkpoints"
        )
    stored = [
        source if not amount else f"{shown(source).rstrip('/')}.accw"
        for source, amount in zip((a, b), amounts, strict=True)
    ]
    commands = [
        f"accweight analyze {_quoted(source)} -o {_quoted(name)}"
        for source, name, amount in zip((a, b), stored, amounts, strict=True)
        if amount
    ]
    commands.append(f"accweight compare {' '.join(map(_quoted, stored))}")
    runs = [shown(source) for source, n in zip((a, b), amounts, strict=True) if n]
    raise MismatchError(
        f"{' and '.join(runs)}: not analysed yet; compare takes two analyses, or two single "
        f"checkpoints. Run: {'; '.join(commands)}"
    )


def _checkpoints(source: str) -> int:
    """Return the number of checkpoints of a source; 0 for an analysis, or for nothing at all."""
    return 0 if is_analysis(source) or _is_missing(source) else len(survey(source).checkpoints)


def _is_missing(source: str) -> bool:
    """Tell whether a path does not exist and is no pattern; it is then reported as an analysis."""
    try:
        return not is_url(source) and "*" not in source and not Path(source).exists()
    except (OSError, ValueError):  # a name that the system cannot hold
        return True


def _quoted(source: str) -> str:
    return shlex.quote(shown(source))


def change_between(a: str, b: str, by: str | None, map: Path | None) -> Analysis:
    """Measure two checkpoints as a run of two steps, in the order given.

    Raises:
        MismatchError: If they are one file, or hold different parameters.
    """
    if by is not None:
        checked_metric(by)
    sides = [survey(source).checkpoints[0] for source in (a, b)]
    if sides[0].path == sides[1].path:
        raise MismatchError(f"{shown(a)}: one checkpoint given twice; compare takes two")
    if map is None:
        _check_alike(*sides)
    return analyze(selected_run([a, b], Selection.of(in_given_order=True, map=map)))


def _check_alike(a: Checkpoint, b: Checkpoint) -> None:
    """Raise if parameters that count differ in name or shape."""
    left, right = ({p.name: p.shape for p in _trained(checkpoint)} for checkpoint in (a, b))
    if left == right:
        return
    lost = [
        f"only {x.path} has {listed(sorted(x_has - y_has))}"
        for x, x_has, y_has in ((a, left.keys(), right.keys()), (b, right.keys(), left.keys()))
        if x_has - y_has
    ]
    reshaped = [n for n in left if left[n] != right.get(n, left[n])]
    lost += [f"{n} is {left[n]} and {right[n]}" for n in reshaped[:1]]
    raise MismatchError(
        f"{a.path} and {b.path} hold different parameters, so there is no change between them: "
        f"{'; '.join(lost)}; see which layers match with: "
        f"accweight align {_quoted(a.path)} {_quoted(b.path)}"
    )


def _trained(checkpoint: Checkpoint) -> Iterator[Parameter]:
    for layer in layers_of(checkpoint.tensors.values()):
        yield from (p for p in layer.parameters if p.role in MEASURED_ROLES)


def pair_json(change: Analysis, a: str, b: str, by: str | None) -> dict[str, Any]:
    """Return the JSON document of ``compare --json`` for two checkpoints."""
    document = rankings.analysis_json(change, by)
    kept = {key: document[key] for key in ("by", "max", "ranking", "notes", "findings")}
    return {"a": shown(a), "b": shown(b), **kept}


def pair(change: Analysis, a: str, b: str, by: str | None) -> Page:
    """Return what ``compare`` prints for two checkpoints."""
    found = findings_of(change)[0]
    names = f"{plain(shown(a))} and {plain(shown(b))}"
    told = [
        f"{names} are identical: every weight is bit-equal"
        if finding.kind == "nothing_moved" and finding.sure == "exact"
        else line
        for finding, line in zip(found, findings_lines(found), strict=False)
    ]
    document = rankings.ranking_json(change, by)
    return [
        f"the change from {plain(shown(a))} to {plain(shown(b))}, in the order given",
        "",
        rankings.ranking_table(document),
        "",
        *rankings.evidence_lines(document),
        *(line.partition(";")[0] for line in rankings.not_counted(document)[1:]),
        *([""] if told else []),
        *told,
    ]
