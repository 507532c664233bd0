"""A report as Markdown, for issues, wikis and commit messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from accweight_core.reports.formatting import number_text
from accweight_core.reports.probe_content import summary_rows
from accweight_core.reports.run_content import Content, beside
from accweight_core.text import count, plain

MOST_ROWS = 100
"""Rows of a table; JSON has all of them."""


def markdown_of(content: Content) -> str:
    """Return the report as Markdown."""
    runs = content["runs"]
    title = ", ".join(run["name"] for run in runs)
    lines = [f"# {_text(title)}", ""]
    if content["comparison"]:
        lines += _comparison(content["comparison"], [run["name"] for run in runs])
    for run in runs:
        lines += _run(run, f"## {_text(run['name'])}" if len(runs) > 1 else "")
    lines += ["## How to read this", "", *(f"- {line}" for line in content["reading"]), ""]
    lines += ["## How it was made", "", f"    {plain(content['command'])}", ""]
    lines += [f"accweight {content['accweight']}", ""]
    return "\n".join(lines)


def _run(run: Content, heading: str) -> Iterator[str]:
    if heading:
        yield from (heading, "")
    yield from (f"{_text(run['source'])}: {_text(run['summary'])}", "")
    told = {finding["text"] for finding in run["findings"]}
    problems = [finding["text"] for finding in run["findings"]]
    problems += [text for text in (*run["warnings"], *run["notes"]) if text not in told]
    yield from (f"- {_text(text)}" for text in problems)
    yield from ([""] if problems else [])
    for name, values in run["measures"].items():
        known = [value for value in values if value is not None]
        if known:
            yield from (f"{_text(name)}: {known[0]:.4g} to {known[-1]:.4g}", "")
    word = run["by"]
    yield from (f"### Layers by {word} at step {run['steps'][-1]}", "")
    names = [word, *beside(run)]
    heads = ["#", "layer", "kind", "weights", *names]
    rows = [
        [str(row["rank"]), _text(row["layer"]), row["kind"], count(row["elements"])]
        + [number_text(row[name]) for name in names]
        for row in run["ranking"]
    ]
    yield from _table(heads, rows, text=3)
    if run["not_counted"]:
        yield from (f"{_text(run['not_counted'])}.", "")
    if run["criticality"]:
        yield from _criticality(run["criticality"])
    if run["probes"]:
        yield from ("### What the network does", "")
        rows = [list(map(_text, row)) for row in summary_rows(run["probes"])]
        yield from _table(["probe", "options", "what it found"], rows, text=3)
    if run["advice"]:
        yield from ("### What to try", "")
    for one in run["advice"]:
        yield f"- **{_text(one['title'])}** ({_text(one['how_sure'])}): {_text(one['text'])}"
        yield from (f"  - {word}: {_text(text)}" for word, text in one["details"])
    yield from ([""] if run["advice"] else [])


def _criticality(found: Content) -> Iterator[str]:
    yield from ("### Which layers are critical", "")
    said = f"Rise of the {found['of']} when one layer is put back, from step {found['last']}"
    yield from (f"{said}; weights in their places: {found['proof']}.", "")
    heads = ["#", "layer", *(f"to step {step}" for step in found["steps"])]
    heads += [*(["random"] if found["has_random"] else []), found["by"]]
    rows = [
        [str(row["rank"] or "-"), _text(row["layer"]), *map(number_text, row["lost"])]
        + ([number_text(row["random"])] if found["has_random"] else [])
        + [number_text(row[found["by"]])]
        for row in found["rows"]
    ]
    yield from _table(heads, rows, text=2)
    if found["prediction"]:
        heads = ["metric", "Spearman", "95 %", "by chance within"]
        rows = [
            [
                one["by"],
                f"{one['spearman']:.2f}",
                f"{one['low']:.2f} to {one['high']:.2f}",
                f"+-{one['null']:.2f}",
            ]
            for one in found["prediction"]
        ]
        yield from _table(heads, rows, text=1)
    yield from (f"- {_text(note)}" for note in found["notes"])
    yield ""


def _comparison(comparison: Content, names: Sequence[str]) -> Iterator[str]:
    yield from ("## The runs against each other", "")
    yield from (f"- {_text(note)}" for note in comparison["notes"])
    yield from ([""] if comparison["notes"] else [])
    heads = ["layer", *(f"{m}, {_text(name)}" for m in comparison["metrics"] for name in names)]
    rows = [
        [_text(row["layer"])]
        + [number_text(value) for metric in comparison["metrics"] for value in row[metric]]
        for row in comparison["rows"]
    ]
    yield from _table(heads, rows, text=1)
    pairs = [
        [
            f"{_text(pair['a'])} and {_text(pair['b'])}",
            str(pair["layers"]),
            number_text(pair["spearman"]),
            number_text(pair["kendall"]),
            pair["text"],
        ]
        for pair in comparison["pairs"]
    ]
    yield from _table(["runs", "layers", "Spearman", "Kendall", "what that says"], pairs, text=1)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], text: int) -> Iterator[str]:
    """Yield the lines of a table; its first `text` columns are aligned to the left."""
    marks = ["---" if place < text else "--:" for place in range(len(heads))]
    for cells in (heads, marks, *rows[:MOST_ROWS]):
        yield f"| {' | '.join(cells)} |"
    if rows[MOST_ROWS:]:
        yield from ("", f"and {len(rows) - MOST_ROWS} more rows")
    yield ""


def _text(text: Any) -> str:
    """Return text in which nothing is read as markup."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", plain(text))
