"""A report as one HTML page that needs nothing else: style, script, charts and pictures are in it.

Everything that comes from files is escaped, by Jinja2 in the text and here in the data for the
charts; a policy in the page forbids it to load anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from accweight_core.reports.run_content import Content, beside
from accweight_core.reports.scatter import scatter
from accweight_core.reports.templates import asset, embedded, graph_script, probe_script, rendered
from accweight_core.text import plain

SECTIONS = (
    ("what", "What was analysed"),
    ("ranking", "Which layers moved"),
    ("curves", "When they moved"),
    ("graph", "Where in the network"),
    ("pictures", "Where in the layers"),
    ("criticality", "Which layers are critical"),
    ("advice", "What to try"),
    ("probes", "What the network does"),
)
"""Sections of a run, and their titles."""

NEEDED = frozenset({"what", "ranking", "curves"})


def html_of(content: Content) -> str:
    """Return the page.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
    """
    words = {word["name"]: word for word in content["metrics"]}
    runs = [_shown(run, words) for run in content["runs"]]
    probes = [run["probes"] for run in content["runs"]]
    graphs = [run["graph"] for run in content["runs"]]
    return rendered(
        "report.html",
        title=", ".join(run["name"] for run in runs),
        lead=runs[0]["summary"] if len(runs) == 1 else f"{len(runs)} runs",
        sections=_sections(content, runs),
        runs=runs,
        comparison=content["comparison"],
        reading=content["reading"],
        words=content["metrics"],
        command=content["command"],
        version=content["accweight"],
        data=_data(content, words),
        script=asset("page.js"),
        probe_data=embedded(probes) if any(probes) else "",
        probe_script=probe_script(),
        graph_data=embedded(graphs) if any(graphs) else "",
        graph_script=graph_script(),
    )


def _shown(run: Content, words: Mapping[str, Content]) -> Content:
    """Return a run with what its page needs beside its content."""
    by = run["by"]
    values = [row[by] for row in run["ranking"] if math.isfinite(row[by])]
    largest = max(values, default=0.0)
    rows = [
        {**row, "share": row[by] / largest if largest > 0 and math.isfinite(row[by]) else 0.0}
        for row in run["ranking"]
    ]
    told = {finding["text"] for finding in run["findings"]}
    return {
        **run,
        "ranking": rows,
        "beside": beside(run),
        "words": words,
        "layers": [row["layer"] for row in run["ranking"]],
        "other_warnings": [one for one in run["warnings"] if one not in told],
        "scatter": _scatter(run["criticality"]),
        "thumbs": {one["layer"]: one["images"][-1]["png"] for one in run["pictures"]},
        "unpictured": len(rows) - len(run["pictures"]),
    }


def _scatter(criticality: Content | None) -> Content | None:
    """Return movement against criticality as a picture; None if there are fewer than two layers."""
    if criticality is None or not criticality["steps"]:
        return None
    by = criticality["by"]
    points = [
        (plain(row["short"]), row[by], row["lost"][0])
        for row in criticality["rows"]
        if row[by] is not None
    ]
    return scatter(points) if len(points) > 1 else None


def _sections(content: Content, runs: Sequence[Content]) -> list[Content]:
    """Return what the navigation leads to."""
    found = []
    if content["comparison"]:
        found.append({"id": "comparison", "title": "The runs against each other"})
    if len(runs) == 1:
        found += [
            {"id": f"{name}-0", "title": title}
            for name, title in SECTIONS
            if name in NEEDED or runs[0][name]
        ]
    else:
        found += [
            {"id": f"run-{number}", "title": plain(run["name"])} for number, run in enumerate(runs)
        ]
    found.append({"id": "reading", "title": "How to read this"})
    found.append({"id": "made", "title": "How it was made"})
    return found


def _data(content: Content, words: Mapping[str, Content]) -> str:
    """Return what the charts draw, as JSON that cannot end its element."""
    runs = [
        {
            "steps": run["steps"],
            "places": run["curves"]["places"],
            "names": [plain(row["short"]) for row in run["ranking"]],
            "metrics": run["curves"]["metrics"],
        }
        for run in content["runs"]
    ]
    told = {name: f"{word['line']}; unit: {word['unit']}" for name, word in words.items()}
    return embedded({"runs": runs, "words": told})
