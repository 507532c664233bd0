"""Let errors that Python code raises name its arguments, not the options of the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from accweight_core.errors import AccweightError

_QUOTED = re.compile(r"'[^']*'")


def _listed(found: re.Match[str]) -> str:
    """Return an option that is given once or several times as one argument."""
    return f"{found[1]}=[{', '.join(_QUOTED.findall(found[0]))}]"


_IN_PYTHON: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"--series NAME, each by itself with --all, or", "open_run(SOURCE, series=NAME), or"),
    (r"--series NAME", "series=NAME"),
    (r"(?:with )?--given-order", "with in_given_order=True"),
    (r"--(exclude|skip) '[^']*'(?: --\1 '[^']*')*", _listed),
    (r"--skip PATTERN", "skip=PATTERN"),
    (r"--group (\w+)", r"group='\1'"),
    (r"--map FILE", "map=FILE"),
    (r"--reader", "reader=NAME"),
    (r"--revisions", "revisions=PATTERN"),
    (r"accweight inspect lists them", "series_of(SOURCE) lists them"),
)


@contextmanager
def in_python() -> Iterator[None]:
    """Word the hints of errors that are raised inside for Python.

    >>> with in_python():
    ...     raise AccweightError("leave it out with --exclude 'last.pt'")
    Traceback (most recent call last):
    accweight_core.errors.AccweightError: leave it out with exclude=['last.pt']

    >>> for_python("leave out with --skip 'fc1.*' --skip 'fc2.*'")
    "leave out with skip=['fc1.*', 'fc2.*']"
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
