"""Format the results of `rank` and `analyze`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.findings import findings
from accweight_core.analysis.probe_metrics import (
    check_is_no_probe,
    is_probe_metric,
    others_of,
    probe_metric,
    with_probe_metric,
)
from accweight_core.analysis.ranking import chosen_metric, left_out, left_out_text, ranking
from accweight_core.analysis.reading import findings_of
from accweight_core.analysis.summary import Per
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.cli.checking import GRAVE, findings_lines
from accweight_core.cli.output import Page, room
from accweight_core.cli.tables import Table, bar, number
from accweight_core.errors import UnknownNameError
from accweight_core.metrics.random_walk import WALKED, Expected, random_walk
from accweight_core.metrics.table import BRIEF, TABLE
from accweight_core.text import count, plain

if TYPE_CHECKING:
    from accweight_core.schema import Role

WALK = (
    "(walk): what a random walk with steps of the same sizes gives; "
    "~ where chance explains the value (95%)."
)

DISPENSABLE = ("max", "mean", "weights", "", "kind")
"""Columns that are left out of a table that is too wide, the first one first."""


def ranking_json(
    analysis: Analysis,
    by: str | None,
    step: int | None = None,
    per: Per = "layer",
    top: int | None = None,
    roles: Sequence[Role] | None = None,
) -> dict[str, Any]:
    """Return the JSON document of ``rank --json``."""
    index, counted = analysis.step_index(step), tuple(roles or analysis.header.roles)
    measured, words = analysis.measured(per, counted), ""
    others: tuple[str, ...] = ()
    if by is not None and is_probe_metric(by):
        _check_of_layers(by, per)
        words = probe_metric(analysis.probes, by, analysis.steps).words
        measured = with_probe_metric(measured, analysis.probes, by, analysis.steps)
        others = others_of(analysis.probes, by)
    elif by is not None:
        check_is_no_probe(analysis.probes, by)
    check_is_no_figure(analysis.header, by)
    chosen = chosen_metric(measured, by, index)
    rows = ranking(measured, chosen.by, index, per)
    totals = {row.name: row.totals for row in measured}
    for row in rows[:top]:
        walk = random_walk(totals[row[per]], index)
        row["random_walk"] = {name: expected.to_json() for name, expected in walk.items()}
    return {
        "source": analysis.header.source,
        "by": chosen.by,
        "step": int(analysis.steps[index]),
        "roles": list(map(str, counted)),
        "left_out": left_out(analysis.parameters, counted),
        "rows": len(rows),
        "ranking": rows[:top],
        "evidence": words or TABLE[chosen.by].sentence,
        "notes": [*analysis.restarts, *chosen.notes, *others],
    }


def _check_of_layers(by: str, per: Per) -> None:
    if per != "layer":
        raise UnknownNameError(f"{by} is known of layers, not per {per}; leave out --per")


def step_line(analysis: Analysis, by: str | None, step: int) -> str:
    """Return one line on a step: the layer that leads the ranking there."""
    document = ranking_json(analysis, by, step, top=1)
    by, first = document["by"], document["ranking"]
    told = [f"{plain(row['layer'])} first, {by} {number(row[by])}" for row in first]
    return ": ".join([f"step {step}", *told])


def grave_findings(analysis: Analysis) -> list[str]:
    """Return the findings with which a ranking means little, in sentences."""
    found = findings(analysis.header, analysis.values)
    return findings_lines([finding for finding in found if finding.kind in GRAVE], analysis.path)


def ranking_page(document: dict[str, Any], per: Per = "layer") -> Page:
    """Return what ``rank`` prints: run, metric and step; the table; the roles not counted."""
    shown, rows = len(document["ranking"]), document["rows"]
    first = f" (the first {shown} of {rows})" if shown < rows else ""
    heading = f"{plain(document['source'])}: {per}s by {document['by']} at step {document['step']}"
    return [
        heading + first,
        "",
        ranking_table(document, per),
        "",
        *evidence_lines(document),
        *not_counted(document)[1:],
    ]


def evidence_lines(document: dict[str, Any]) -> list[str]:
    """Return how to read a ranking: what its metric is evidence for, and the null beside it."""
    lines = [f"note: {plain(note)}" for note in document["notes"]]
    lines.append(f"{document['evidence']}.")
    if any(math.isfinite(row["random_walk"]["efficiency"]["value"]) for row in document["ranking"]):
        lines.append(WALK)
    return lines


def exported_roles(analysis: Analysis, per: Per) -> tuple[Role, ...]:
    """Return the roles that an export holds unless told: all of them in rows of parameters."""
    if per == "parameter":
        return tuple(dict.fromkeys(parameter.role for parameter in analysis.parameters))
    return analysis.header.roles


def not_counted(document: dict[str, Any]) -> list[str]:
    """Return a line on the parameters that are not counted, and how to count them."""
    told = left_out_text(document["left_out"])
    if not told:
        return []
    roles = ",".join((*document["roles"], *document["left_out"]))
    return ["", f"{told}; count all with: accweight rank --roles {roles}"]


def ranking_table(document: dict[str, Any], per: Per = "layer") -> Table:
    """Return a ranking as a table; optional columns are left out if it is too wide."""
    by, rows = document["by"], document["ranking"]
    shown = rows[0] if rows else {}
    beside = [name for name in BRIEF if name != by and name in shown]
    values = [row[by] for row in rows if not math.isnan(row[by])]
    largest = max(values, default=0.0)
    columns = {
        "#": [str(row["rank"]) for row in rows],
        per: [plain(row[per]) for row in rows],
        "kind": [row["kind"] for row in rows],
        "weights": [count(row["elements"]) for row in rows],
        by: [number(row[by]) for row in rows],
        "": [bar(row[by], largest) for row in rows],
        **dict(_beside(name, rows) for name in beside),
    }
    right = frozenset(columns) - {"", per, "kind"}
    width = room()
    for dispensable in DISPENSABLE:
        if dispensable != by and Table(columns, right).width > width:
            columns.pop(dispensable, None)
    return Table(columns, right)


def _beside(name: str, rows: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    """Return a column beside the metric of a ranking, with its null in brackets if it has one."""
    if name not in WALKED or not all("random_walk" in row for row in rows):
        return name, [number(row[name]) for row in rows]
    walks = [Expected(**row["random_walk"][name]) for row in rows]
    cells = [
        f"{number(row[name])} ({'~' * walk.holds(row[name])}{walk.value:.2g})"
        if math.isfinite(walk.value)
        else number(row[name])
        for row, walk in zip(rows, walks, strict=True)
    ]
    return f"{name} (walk)", cells


def analysis_json(analysis: Analysis, by: str | None) -> dict[str, Any]:
    """Return the JSON document of ``analyze --json``."""
    top, document = analysis.maximum, ranking_json(analysis, by)
    shown = {p.layer for p in analysis.parameters if p.role in analysis.header.roles}
    return {
        "out": str(analysis.path) if analysis.path else None,
        "checkpoints": len(analysis.steps),
        "steps": [int(step) for step in analysis.steps],
        "layers": len(shown),
        "parameters": len(analysis.parameters),
        "max": None
        if top is None
        else {
            "layer": top.layer,
            "parameter": top.parameter,
            "index": list(top.index),
            "value": top.value,
        },
        "by": document["by"],
        "ranking": document["ranking"],
        "notes": [*analysis.header.notes, *document["notes"]],
        "warnings": list(analysis.header.warnings),
        "findings": [finding.to_json() for finding in findings_of(analysis)[0]],
    }


def analysis_summary(analysis: Analysis, by: str | None) -> Page:
    """Return what ``analyze`` prints: size of the run, ranking, and most moved weight."""
    steps, top = analysis.steps, analysis.maximum
    elements = sum(p.elements for p in analysis.parameters)
    span = f"steps {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"step {steps[0]}"
    document = ranking_json(analysis, by)
    told = findings_lines(findings_of(analysis)[0], analysis.path)
    lines: list[str | Table] = [
        (
            f"{len(steps)} checkpoint{'s' * (len(steps) > 1)}, {span}; "
            f"{len(analysis.parameters)} parameters, {count(elements)} weights"
        ),
        "",
        ranking_table(document),
        "",
        *evidence_lines(document),
        *not_counted(document)[1:],
        "",
    ]
    lines += [*told, ""] if told else []
    if top and top.value:
        place = f"{plain(top.parameter)}[{', '.join(map(str, top.index))}]"
        lines.append(f"most moved weight: {place}, {top.value:.4g}")
    if analysis.path:
        lines.append(f"stored in {plain(analysis.path)}")
    return lines
