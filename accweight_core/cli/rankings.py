"""Format the results of `rank` and `analyze`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.findings import findings
from accweight_core.analysis.ranking import left_out, left_out_text, ranking
from accweight_core.analysis.reading import findings_of
from accweight_core.analysis.summary import Per
from accweight_core.cli.checking import GRAVE, findings_lines
from accweight_core.cli.output import Page, room
from accweight_core.cli.tables import Table, bar, number
from accweight_core.metrics.table import brief_metrics
from accweight_core.text import count, plain

if TYPE_CHECKING:
    from accweight_core.schema import Role

CAUTION = (
    "mean and max grow with learning rate and checkpoints, and are not importance by "
    "themselves; relative and efficiency are free of scale."
)


def ranking_json(
    analysis: Analysis,
    by: str,
    step: int | None = None,
    per: Per = "layer",
    top: int | None = None,
    roles: Sequence[Role] | None = None,
) -> dict[str, Any]:
    """Return the JSON document of ``rank --json``."""
    index, counted = analysis.step_index(step), tuple(roles or analysis.header.roles)
    rows = ranking(analysis.measured(per, counted), by, index, per)
    return {
        "source": analysis.header.source,
        "by": by,
        "step": int(analysis.steps[index]),
        "roles": list(map(str, counted)),
        "left_out": left_out(analysis.parameters, counted),
        "rows": len(rows),
        "ranking": rows[:top],
    }


def step_line(analysis: Analysis, by: str, step: int) -> str:
    """Return one line on a step: the layer that leads the ranking there."""
    first = ranking_json(analysis, by, step, top=1)["ranking"]
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
    return [heading + first, "", ranking_table(document, per), *not_counted(document)]


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
    beside = [name for name in brief_metrics() if name != by and name in shown]
    values = [row[by] for row in rows if not math.isnan(row[by])]
    largest = max(values, default=0.0)
    columns = {
        "#": [str(row["rank"]) for row in rows],
        per: [plain(row[per]) for row in rows],
        "kind": [row["kind"] for row in rows],
        "weights": [count(row["elements"]) for row in rows],
        by: [number(row[by]) for row in rows],
        "": [bar(row[by], largest) for row in rows],
        **{name: [number(row[name]) for row in rows] for name in beside},
    }
    right = frozenset(columns) - {"", per, "kind"}
    width = room()
    for dispensable in ("", "max", "weights", "kind"):
        if dispensable != by and Table(columns, right).width > width:
            columns.pop(dispensable, None)
    return Table(columns, right)


def analysis_json(analysis: Analysis, by: str) -> dict[str, Any]:
    """Return the JSON document of ``analyze --json``."""
    top = analysis.maximum
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
        "ranking": ranking_json(analysis, by)["ranking"],
        "notes": list(analysis.header.notes),
        "warnings": list(analysis.header.warnings),
        "findings": [finding.to_json() for finding in findings_of(analysis)[0]],
    }


def analysis_summary(analysis: Analysis, by: str) -> Page:
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
        *not_counted(document),
        "",
    ]
    lines += [*told, ""] if told else []
    if top and top.value:
        place = f"{plain(top.parameter)}[{', '.join(map(str, top.index))}]"
        lines.append(f"most moved weight: {place}, {top.value:.4g}")
        lines.append(CAUTION)
    if analysis.path:
        lines.append(f"stored in {plain(analysis.path)}")
    return lines
