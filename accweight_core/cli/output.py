"""Print results on stdout, and progress, notes and warnings on stderr.

A result is one JSON document, or a page of lines and tables. If stdout is not a terminal, tables
have any width, no line is wrapped, and none ends in spaces, so that other programs can read them.
On a terminal too narrow for a page, rich wraps it; otherwise rich is not imported, as the import
takes as long as measuring a small run. Names come from files, so they are printed as plain text
with control characters escaped.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from accweight_core.cli.tables import Table, width_of
from accweight_core.errors import StoreError, reason_of
from accweight_core.text import plain, size

UNLIMITED = 1 << 16
"""Width of the output if stdout is not a terminal; longer than any name."""

MANY_ROWS = 500
"""Tables with more rows are not folded by rich: it takes 14 s for 20,000 layers."""

Page = Sequence[str | Table]
"""Lines and tables, from top to bottom."""


def room() -> int:
    """Return the width of stdout in characters."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def show(answer: str | Page | dict[str, Any], *, is_data: bool = False) -> None:
    """Print the result on stdout: lines and tables, or one JSON document.

    Args:
        answer: The result.
        is_data: Whether text is for programs, and is not wrapped on a narrow terminal.

    Raises:
        StoreError: If stdout cannot be written, as on a full disk.
    """
    try:
        if is_data and isinstance(answer, str):
            _print([answer])
        else:
            _show(answer)
    except BrokenPipeError:
        raise  # the reading program has closed the pipe, as head does
    except OSError as error:
        raise StoreError(f"the output cannot be written ({reason_of(error)})") from None


def _show(answer: str | Page | dict[str, Any]) -> None:
    if isinstance(answer, dict):
        click.echo(json.dumps(_finite(answer), indent=2, allow_nan=False))
        return
    page = [answer] if isinstance(answer, str) else answer
    is_terminal = sys.stdout.isatty()
    width = room()
    page = [_fitting(part, width) for part in page]
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
    """Print lines through `sys.stdout`, as click treats an ASCII encoding as a mistake."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()  # of work that takes long, lines are read as they come


def _fitting(part: str | Table, width: int) -> str | Table:
    """Return a table that is too wide with short names of layers."""
    return part if isinstance(part, str) or part.width <= width else part.shortened()


def _wraps(part: str | Table, width: int) -> bool:
    """Tell whether a part of a page is too wide, and can be folded."""
    if isinstance(part, str):
        return width_of(part) > width
    return part.width > width and len(part) <= MANY_ROWS


def _fold(page: Page, width: int) -> None:
    """Print a page that is wider than the terminal, with wrapped lines and folded cells."""
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


@contextmanager
def in_place() -> Iterator[Callable[[Page], None] | None]:
    """Yield what prints a page in place of the one before; None if stdout is not a terminal.

    The last page is removed in the end. What is printed on stderr meanwhile appears above it.
    """
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def redraw(page: Page) -> None:
        parts = [[part] if isinstance(part, str) else part.lines() for part in page]
        live.update(Text("\n".join(line for lines in parts for line in lines)), refresh=True)

    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield redraw


def remark(*lines: str) -> None:
    """Print notes on stderr."""
    _aside("note", lines)


def warn(*lines: str) -> None:
    """Print warnings on stderr."""
    _aside("warning", lines)


def _aside(kind: str, lines: Sequence[str]) -> None:
    """Print lines on stderr; ignore errors of writing, so that the work continues."""
    with suppress(OSError):
        for line in lines:
            click.echo(f"{kind}: {plain(line)}", err=True)


def _finite(value: Any) -> Any:
    """Return JSON values with NaN and infinity replaced by None."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def progress(label: str, unit: str = "bytes") -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar with rate and time left on stderr; yield ``advance(done, total)``."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Column with the rate, in bytes or other units per second."""

        def render(self, task: Task) -> Text:
            """Return the current rate."""
            speed = task.finished_speed or task.speed
            if speed is None:
                return Text("")
            return Text(f"{size(speed)}/s" if unit == "bytes" else f"{speed:.2g} {unit}/s")

    percentage = TextColumn("{task.percentage:>3.0f}%")
    columns = (
        TextColumn(label, markup=False),
        BarColumn(),
        percentage,
        Rate(),
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
        bar.live.transient = True  # remove the bar, so that the error is on the last line
        raise
    finally:
        bar.stop()
