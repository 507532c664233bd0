"""Let errors that Python code raises name its arguments, not the options of the command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from accweight_core.errors import AccweightError

_IN_PYTHON = (
    (r"--series NAME, each by itself with --all, or", "open_run(SOURCE, series=NAME), or"),
    (r"--series NAME", "series=NAME"),
    (r"(?:with )?--given-order", "with in_given_order=True"),
    (r"--(exclude|skip) '([^']*)'", r"\1=['\2']"),
    (r"--skip PATTERN", "skip=PATTERN"),
    (r"--group (\w+)", r"group='\1'"),
    (r"--map FILE", "map=FILE"),
    (r"--reader", "reader=NAME"),
    (r"accweight inspect lists them", "series_of(SOURCE) lists them"),
)


@contextmanager
def in_python() -> Iterator[None]:
    """Word the hints of errors that are raised inside for Python.

    >>> with in_python():
    ...     raise AccweightError("leave it out with --exclude 'last.pt'")
    Traceback (most recent call last):
    accweight_core.errors.AccweightError: leave it out with exclude=['last.pt']
    """
    try:
        yield
    except AccweightError as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (for_python(error.args[0]), *error.args[1:])
        raise


def for_python(text: str) -> str:
    """Return a message with the arguments of `open_run` in place of options."""
    for option, argument in _IN_PYTHON:
        text = re.sub(option, argument, text)
    return text
