"""What the commands print: tables that read well in 80 columns, or one JSON document.

Where stdout is not a terminal, tables are as wide as they need to be: no line is wrapped and
none ends in spaces, so that other programs can read them. Stdout carries the answer alone;
progress, remarks and warnings go to stderr. Names come from files, so they are printed as
plain text with control characters shown, never obeyed.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.ranking import ranking
from accweight_core.analysis.summary import Per
from accweight_core.metrics.table import brief_metrics
from accweight_core.text import count, plain, shortened, size

if TYPE_CHECKING:
    from accweight_core.runs.inspection import Inspection
    from accweight_core.schema import Checkpoint, Role

BAR_WIDTH = 8
FLEXIBLE = ("layer", "parameter", "parameters", "checkpoint", "layer of a", "layer of b", "why")
"""Columns that give way where the terminal is narrow."""

MANY_ROWS = 500
"""Rows beyond which tables are put together here: rich takes 14 s for those of 20,000 layers."""

UNLIMITED = 1 << 16
"""Columns where nobody looks at a terminal; no name is as long."""

CAUTION = (
    "mean and max grow with learning rate and checkpoints, and are not importance by "
    "themselves; relative and efficiency are free of scale."
)


def show(answer: RenderableType | dict[str, Any]) -> None:
    """Print the answer on stdout: a table, or one JSON document."""
    if isinstance(answer, dict):
        click.echo(json.dumps(_finite(answer), indent=2, allow_nan=False))
        return
    console = _console()
    if console.is_terminal:
        console.print(answer)
        return
    with console.capture() as printed:
        console.print(answer)
    lines = printed.get().removesuffix("\n").split("\n")
    sys.stdout.write("".join(line.rstrip() + "\n" for line in lines))


def _console() -> Console:
    """Return where answers are printed: as wide as a terminal, or as wide as need be."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


def remark(*lines: str) -> None:
    """Print remarks on stderr."""
    for line in lines:
        click.echo(f"note: {plain(line)}", err=True)


def warn(*lines: str) -> None:
    """Print warnings on stderr."""
    for line in lines:
        click.echo(f"warning: {plain(line)}", err=True)


def _finite(value: Any) -> Any:
    """Return JSON values in which undefined numbers are null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class _Rate(ProgressColumn):
    """Bytes, or whatever is counted, per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the speed so far."""
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        amount = f"{size(speed)}/s" if self._unit == "bytes" else f"{speed:.2g} {self._unit}/s"
        return Text(amount)


@contextmanager
def progress(label: str, unit: str = "bytes") -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and time left on stderr; yields ``advance(done, total)``."""
    console = Console(stderr=True)
    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (TextColumn(label), BarColumn(), percentage, _Rate(unit), TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(label, total=None)

    def advance(done: int, total: int) -> None:
        if done:
            bar.start()
            bar.update(task, completed=done, total=total)

    try:
        yield advance
    except BaseException:
        bar.live.transient = True  # leave the last line to the error
        raise
    finally:
        bar.stop()


def number(value: float | None) -> str:
    """Return a number in four digits, a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"


def _bar(value: float, largest: float) -> str:
    """Return a bar of eighths of a character."""
    if not (largest > 0 and value > 0):
        return ""
    eighths = max(1, round(BAR_WIDTH * 8 * value / largest))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def table_of(*columns: tuple[str, str]) -> Table:
    """Return an empty table of columns, each a name and ``right`` for numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name, justify in columns:
        flexible = name in FLEXIBLE
        table.add_column(
            name,
            justify="right" if justify == "right" else "left",
            no_wrap=not flexible,
            overflow="fold",
        )
    return table


def ranking_json(
    analysis: Analysis,
    by: str,
    step: int | None = None,
    per: Per = "layer",
    top: int | None = None,
    roles: Sequence[Role] | None = None,
) -> dict[str, Any]:
    """Return the document of ``rank --json``."""
    index, counted = analysis.step_index(step), tuple(roles or analysis.header.roles)
    rows = ranking(analysis.measured(per, counted), by, index, per)
    return {
        "source": analysis.header.source,
        "by": by,
        "step": int(analysis.steps[index]),
        "roles": list(map(str, counted)),
        "left_out": Counter(str(p.role) for p in analysis.parameters if p.role not in counted),
        "rows": len(rows),
        "ranking": rows[:top],
    }


def ranking_page(document: dict[str, Any], per: Per = "layer") -> RenderableType:
    """Return what ``rank`` prints: run, metric and step; the table; what no row counts."""
    shown, rows = len(document["ranking"]), document["rows"]
    first = f" (the first {shown} of {rows})" if shown < rows else ""
    heading = f"{plain(document['source'])}: {per}s by {document['by']} at step {document['step']}"
    return Group(
        Text(heading + first), Text(""), ranking_table(document, per), *_not_counted(document)
    )


def _not_counted(document: dict[str, Any]) -> list[RenderableType]:
    """Return a line on the parameters that no row counts, and how they are taken in."""
    left_out = document["left_out"]
    if not left_out:
        return []
    amounts = [
        f"{amount} {role if amount == 1 else role + ('es' if role.endswith('s') else 's')}"
        for role, amount in left_out.items()
    ]
    roles = ",".join((*document["roles"], *left_out))
    verb = "is" if sum(left_out.values()) == 1 else "are"
    listed = f"{', '.join(amounts[:-1])} and {amounts[-1]}" if amounts[1:] else amounts[0]
    line = f"{listed} {verb} not counted; count all with: accweight rank --roles {roles}"
    return [Text(""), Text(line)]


def ranking_table(document: dict[str, Any], per: Per = "layer") -> RenderableType:
    """Return a ranking as a table; what fits least is left out beside long names."""
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
        "": [_bar(row[by], largest) for row in rows],
        **{name: [number(row[name]) for row in rows] for name in beside},
    }
    room = _console().width
    for dispensable in ("", "max", "weights", "kind"):
        if _width(columns) > room and dispensable != by:
            columns.pop(dispensable, None)
    justified = {name: "" if name in ("", per, "kind") else "right" for name in columns}
    if len(rows) > MANY_ROWS and _width(columns) <= room:
        return _lines(columns, justified)
    table = table_of(*justified.items())
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _lines(columns: dict[str, list[str]], justified: dict[str, str]) -> Text:
    """Return what a table of these columns shows, where nothing has to give way."""
    aligned = []
    for name, cells in columns.items():
        width = max(map(cell_len, [name, *cells]))
        gaps = [" " * (width - cell_len(cell)) for cell in (name, *cells)]
        pairs = zip((name, *cells), gaps, strict=True)
        right = justified[name] == "right"
        aligned.append([gap + cell if right else cell + gap for cell, gap in pairs])
    head, *lines = ("  ".join(cells) for cells in zip(*aligned, strict=True))
    return Text.assemble((head, "bold"), "\n", "\n".join(lines), no_wrap=True)


def _width(columns: dict[str, list[str]]) -> int:
    """Return the characters that a table of these columns takes."""
    return sum(max(map(len, [name, *cells])) + 2 for name, cells in columns.items()) - 2


def analysis_json(analysis: Analysis, by: str) -> dict[str, Any]:
    """Return the document of ``analyze --json``."""
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
    }


def analysis_summary(analysis: Analysis, by: str) -> RenderableType:
    """Return what ``analyze`` prints: what was measured, the ranking, the most moved weight."""
    steps, top = analysis.steps, analysis.maximum
    elements = sum(p.elements for p in analysis.parameters)
    document = ranking_json(analysis, by)
    lines: list[RenderableType] = [
        Text(
            f"{len(steps)} checkpoints, steps {steps[0]} to {steps[-1]}; "
            f"{len(analysis.parameters)} parameters, {count(elements)} weights"
        ),
        Text(""),
        ranking_table(document),
        *_not_counted(document),
        Text(""),
    ]
    if top:
        place = f"{plain(top.parameter)}[{', '.join(map(str, top.index))}]"
        lines.append(Text(f"most moved weight: {place}, {top.value:.4g}"))
    lines.append(Text(CAUTION))
    if analysis.path:
        lines.append(Text(f"stored in {plain(analysis.path)}"))
    return Group(*lines)


def inspection(result: Inspection) -> RenderableType:
    """Return what ``inspect`` prints."""
    opened = result.opened
    lines: list[RenderableType] = [
        Text(f"{plain(opened.source)}: {result.format}, {len(opened.checkpoints)} checkpoints"),
        Text(""),
        _checkpoints(result),
        Text(""),
    ]
    if len(result.groups) > 1:
        lines.append(Text("not one run: the checkpoints hold different parameters"))
        lines += [Text(f"  group {g.number}: {plain(g.summary)}") for g in result.groups]
        lines += [Text(""), Text(f"layers of group {result.shown.number}:")]
    lines.append(_layers(result))
    lines += [
        Text(f"cannot be analysed: {plain(name)}: {plain(reason)}")
        for name, reason in result.refused.items()
    ]
    lines += [Text(f"note: {plain(note)}") for note in opened.notes]
    return Group(*lines)


def _checkpoints(result: Inspection) -> RenderableType:
    group_of = {c.path: g.number for g in result.groups for c in g.checkpoints}
    several = len(result.groups) > 1
    found = result.opened.checkpoints
    names = map(plain, shortened([c.path for c in found]))
    columns = {
        "step": [str(c.step) for c in found],
        "from": [plain(c.step_source) for c in found],
        "size": [size(c.size_bytes) for c in found],
        "checkpoint": [
            f"{name} (group {group_of[c.path]})" if several else name
            for c, name in zip(found, names, strict=True)
        ],
    }
    left_out = _add_measures(columns, found)
    left = ("from", "checkpoint")
    table = table_of(*((name, "" if name in left else "right") for name in columns))
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    more = Text(f"more with --json: {', '.join(left_out)}")
    return Group(table, more) if left_out else table


def _add_measures(columns: dict[str, list[str]], found: Sequence[Checkpoint]) -> list[str]:
    """Add a column per measure as long as they fit beside the rest; return the others' names."""
    measures = list(dict.fromkeys(name for c in found for name in c.measures))
    leaves = [name.rpartition(".")[2] for name in measures]
    uses = Counter(leaves)
    left_out, room = [], _console().width
    for name, leaf in zip(measures, leaves, strict=True):
        label = plain(leaf if leaf and uses[leaf] == 1 else name)
        cells = [number(c.measures.get(name)) for c in found]
        wider = {**columns, label: cells}
        if label in columns or _width(wider) > room:
            left_out.append(label)
        else:
            columns[label] = cells
    return left_out


def _layers(result: Inspection) -> Table:
    table = table_of(("layer", ""), ("kind", ""), ("weights", "right"), ("parameters", ""))
    for layer in result.layers:
        parts = ", ".join(
            f"{_leaf(p.name, layer.name)} {_shape(p.shape)}" for p in layer.parameters
        )
        elements = sum(p.elements for p in layer.parameters)
        table.add_row(Text(plain(layer.name)), str(layer.kind), count(elements), Text(plain(parts)))
    return table


def _leaf(name: str, layer: str) -> str:
    return name.removeprefix(layer).lstrip(".") or name


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
