"""What commands write: the answer on stdout, progress, remarks and warnings on stderr.

An answer is one JSON document, or a page: lines and tables. Where stdout is not a terminal, tables
are as wide as they need to be: no line is wrapped and none ends in spaces, so that other programs
can read them. On a terminal too narrow for a page, rich wraps it; elsewhere it is not imported,
since that takes as long as a small run is measured in. Names come from files, so they are printed
as plain text with control characters shown, never obeyed.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from accweight_core.cli.tables import Table, width_of
from accweight_core.text import plain, size

UNLIMITED = 1 << 16
"""Columns where nobody looks at a terminal; no name is as long."""

MANY_ROWS = 500
"""Rows beyond which rich does not fold tables: it takes 14 s for those of 20,000 layers."""

Page = Sequence[str | Table]
"""Lines and tables, one below the other."""


def room() -> int:
    """Return the characters that a line of stdout has room for."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def show(answer: str | Page | dict[str, Any]) -> None:
    """Print the answer on stdout: lines and tables, or one JSON document."""
    if isinstance(answer, dict):
        click.echo(json.dumps(_finite(answer), indent=2, allow_nan=False))
        return
    page = [answer] if isinstance(answer, str) else answer
    is_terminal = sys.stdout.isatty()
    width = room()
    if any(_wraps(part, width) for part in page):
        _fold(page, width)
        return
    bold = is_terminal and os.environ.get("TERM") != "dumb"
    for part in page:
        lines = [part] if isinstance(part, str) else part.lines()
        if bold and not isinstance(part, str):
            lines[0] = click.style(lines[0], bold=True)
        _print(lines)


def _print(lines: Sequence[str]) -> None:
    """Print lines as far as stdout knows their letters; click takes one of ASCII for a mistake."""
    sys.stdout.write("\n".join(lines) + "\n")


def _wraps(part: str | Table, width: int) -> bool:
    """Tell whether a part of a page is wider than there is room for, and can be folded."""
    if isinstance(part, str):
        return width_of(part) > width
    return part.width > width and len(part) <= MANY_ROWS


def _fold(page: Page, width: int) -> None:
    """Print a page that is wider than the terminal: words wrap, long cells take several lines."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, width=width)
    for part in page:
        if isinstance(part, str):
            console.print(Text(part))
        elif _wraps(part, width):
            console.print(part.folded())
        else:
            _print(part.lines())


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


@contextmanager
def progress(label: str, unit: str = "bytes") -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and time left on stderr; yields ``advance(done, total)``."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn

    class Rate(TextColumn):
        """Bytes, or whatever is counted, per second."""

        def render(self, task: Task) -> Any:
            """Return the speed so far."""
            speed = task.finished_speed or task.speed
            amount = f"{size(speed or 0)}/s" if unit == "bytes" else f"{speed or 0:.2g} {unit}/s"
            self.text_format = "" if speed is None else amount
            return super().render(task)

    from rich.console import Console

    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (
        TextColumn(label, markup=False),
        BarColumn(),
        percentage,
        Rate("", markup=False),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
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
