"""Puts what was measured into README.md, between markers; the text around them is hand-written.

    <!-- figures: growth -->  ...  <!-- end -->

`suite.py --write-readme` does it when all is measured; with results that are there already:

    python benchmarks/readme.py benchmarks/out/full.json

A name is that of a benchmark, `machine`, or `goals`. What was not measured stays as it is.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from machine import in_words
from rounds import shown_rows

README = Path(__file__).with_name("README.md")
KEPT = "measured"
"""Name of the JSON and the picture that the figures come from, beside the README."""

MARKED = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_readme(results: Mapping[str, Any], picture: Path, readme: Path = README) -> None:
    """Refresh the figures of a README from results, and keep these and their picture beside it."""
    readme.write_text(refreshed(readme.read_text(), results))
    (readme.parent / f"{KEPT}.json").write_text(json.dumps(results, indent=2) + "\n")
    shutil.copyfile(picture, readme.parent / f"{KEPT}{picture.suffix}")


def refreshed(text: str, results: Mapping[str, Any]) -> str:
    """Return a text with the figures of its markers replaced."""

    def replaced(match: re.Match[str]) -> str:
        lines = list(_figures(match[2], results))
        return f"{match[1]}\n{chr(10).join(lines)}\n\n{match[3]}" if lines else match[0]

    return MARKED.sub(replaced, text)


def _figures(name: str, results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one marker."""
    if name == "machine":
        machine = results["machine"]
        versions = ", ".join(f"{k} {v}" for k, v in machine["libraries"].items() if v)
        yield f"Size `{results['size']}`. {in_words(machine)}. {versions}."
        yield ""
        yield f"![What a weight costs, in every benchmark]({KEPT}.png)"
    elif name == "goals":
        yield from _goals(results)
    else:
        found = results["benchmarks"].get(name, {})
        for table in found.get("tables", ()):
            yield from _table(table)
        yield from (f"- {note}" for note in found.get("notes", ()))


def _goals(results: Mapping[str, Any]) -> Iterator[str]:
    goals = [
        goal for found in results["benchmarks"].values() for goal in found.get("goals", ())
    ]  # fmt: skip
    yield "| goal | measured | asked | |"
    yield "|---|--:|--:|---|"
    for goal in goals:
        bound = f"{'≥' if goal['at_least'] else '≤'} {goal['bound']:.4g}"
        met = "met" if goal["met"] else "**not met**"
        yield f"| {goal['goal']} | {goal['value']:.2f} | {bound} | {met} |"


def _table(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield a stored table in Markdown, under its title."""
    columns = table["columns"]
    yield f"*{table['title']}*"
    yield ""
    yield f"| {' | '.join(column['heading'] for column in columns)} |"
    yield "|---|" + "--:|" * (len(columns) - 1)
    for row in shown_rows(table):
        yield f"| {' | '.join(row)} |"
    yield ""


def main() -> None:
    """Put stored results into the README, with the picture beside them."""
    path = Path(sys.argv[1])
    write_readme(json.loads(path.read_text()), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
