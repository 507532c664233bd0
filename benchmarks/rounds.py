"""How every benchmark measures and tells: in turn, by medians and ratios, against named goals.

What is compared is taken in turn (A B C, A B C, ...), and ratios are taken within a round: other
users of a machine then slow both sides. A benchmark is a script with the options below; it ends
with an error where a value is wrong, and writes OUT/NAME.json:

    {"tables": [{"title", "columns": [{"key", "heading", "format"}], "rows": [...]}],
     "goals": [{"goal", "value", "bound", "at_least", "met"}], "notes": [...]}
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
Row = dict[str, Any]

OUT = Path(__file__).parent / "out"


def every_thread() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_counts(size: str) -> list[int]:
    """Return one, and as many as there are processors; the size of a test has the latter alone."""
    return sorted({1, every_thread()}) if size != "smoke" else [every_thread()]


def threads_of(count: int) -> str:
    """Return a number of threads in words."""
    return f"{count} thread{'s' * (count != 1)}"


def in_turn(ways: Mapping[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """Call every way once per round, and return what each gave in every round."""
    found: dict[str, list[Result]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return one series over the other, round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Return the least and the largest of a series."""
    return f"{min(values):.2f}-{max(values):.2f}"


median = statistics.median


@dataclass
class Table:
    """Rows under headings.

    Attributes:
        title: What is shown.
        columns: Key of a row, heading, and format of its values; text where there is none.
        rows: What was measured.
    """

    title: str
    columns: Sequence[tuple[str, str, str]]
    rows: list[Row] = field(default_factory=list)

    def as_json(self) -> Row:
        """Return what is stored."""
        names = ("key", "heading", "format")
        columns = [dict(zip(names, column, strict=True)) for column in self.columns]
        return {"title": self.title, "columns": columns, "rows": self.rows}


@dataclass(frozen=True)
class Goal:
    """What is asked for, and what came.

    Attributes:
        goal: In words.
        value: What was measured.
        bound: What was asked for.
        at_least: Whether the bound is the least that will do, or the most.
    """

    goal: str
    value: float
    bound: float
    at_least: bool = True

    def as_json(self) -> Row:
        """Return what is stored."""
        met = self.value >= self.bound if self.at_least else self.value <= self.bound
        return {**asdict(self), "met": met}


@dataclass
class Report:
    """What a benchmark has to tell."""

    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> Row:
        """Return what is stored."""
        return {
            "tables": [table.as_json() for table in self.tables],
            "goals": [goal.as_json() for goal in self.goals],
            "notes": self.notes,
        }


ROUNDS = {"smoke": 1, "quick": 3, "medium": 5, "full": 5}
"""How often each way is taken unless asked otherwise."""


def arguments(text: str | None, given: Sequence[str] | None) -> argparse.Namespace:
    """Return the options that every benchmark has; `smoke` is the size of its test."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("--size", choices=("quick", "medium", "full", "smoke"), default="quick")
    parser.add_argument("--rounds", type=int, help="3 to 5 unless said")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON")
    parser.add_argument("--scratch", type=Path, help="folder for checkpoints meanwhile")
    options = parser.parse_args(given)
    options.rounds = options.rounds or ROUNDS[options.size]
    return options


@contextmanager
def scratch_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Make a folder for checkpoints, and remove it in the end."""
    with tempfile.TemporaryDirectory(prefix="accweight-", dir=options.scratch) as folder:
        yield Path(folder)


def keep(report: Report, name: str, out: Path) -> None:
    """Print a report, and store it."""
    stored = report.as_json()
    print("\n".join(lines(stored)), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(stored, indent=2))


def lines(stored: Row) -> Iterator[str]:
    """Yield a stored report as text for a terminal."""
    for table in stored["tables"]:
        yield f"\n{table['title']}"
        cells = [[c["heading"] for c in table["columns"]], *(shown_rows(table))]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            first, *others = (
                cell.ljust(w) if not at else cell.rjust(w)
                for at, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            yield "  ".join(["", first, *others]).rstrip()
    yield from (f"  {note}" for note in stored["notes"])
    yield from goal_lines(stored["goals"])


def shown_rows(table: Row) -> Iterator[list[str]]:
    """Yield the rows of a stored table as text; nothing where a row has no value."""
    for row in table["rows"]:
        yield [_shown(row.get(c["key"]), c["format"]) for c in table["columns"]]


def _shown(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def goal_lines(goals: Iterable[Row]) -> Iterator[str]:
    """Yield a line per goal."""
    for goal in goals:
        mark = "met    " if goal["met"] else "NOT MET"
        sign = ">=" if goal["at_least"] else "<="
        yield f"  {mark}  {goal['goal']}: {goal['value']:.2f} {sign} {goal['bound']:g}"
