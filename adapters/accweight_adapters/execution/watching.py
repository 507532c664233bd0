"""Values inside bodies of branches and loops: kept and replaced by name while a graph runs.

A body is a program of its own, which operators of control flow call. Whoever runs the graph says
here which of its values are asked for; each body that has one computes and hands it over. A value
has a name and one content only if its body runs once: it is counted how often it was computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from accweight_core.errors import ArgumentValueError
from accweight_core.text import plain


@dataclass
class Watched:
    """What is asked for inside of bodies, and what was found.

    Attributes:
        names: Values that are kept.
        functions: What replaces values, by their names.
        found: The last content of each value kept.
        times: How often it was computed.
    """

    names: Sequence[str]
    functions: Mapping[str, Callable[[Any], Any]]
    found: dict[str, Any] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def record(self, name: str, value: Any) -> None:
        """Keep a value."""
        self.found[name] = value
        self.times[name] = self.times.get(name, 0) + 1

    def value(self, name: str, node: str) -> Any:
        """Return a value.

        Args:
            name: Its name.
            node: What it is called in messages.

        Raises:
            ArgumentValueError: If it was not computed exactly once.
        """
        times = self.times.get(name, 0)
        if times == 1:
            return self.found[name]
        if times == 0:
            raise ArgumentValueError(
                f"node {plain(node)!r} is in a branch or loop that is not run for these samples"
            )
        raise ArgumentValueError(
            f"node {plain(node)!r} is in a loop and computed {times} times for these samples; "
            "only what is computed once has one value"
        )


_CURRENT: ContextVar[Watched | None] = ContextVar("watched", default=None)


def current() -> Watched | None:
    """Return what is asked for inside of bodies by who runs the graph; None if nothing is."""
    return _CURRENT.get()


@contextmanager
def watching(
    names: Sequence[str], functions: Mapping[str, Callable[[Any], Any]]
) -> Iterator[Watched]:
    """Ask for values inside of bodies in this context."""
    watched = Watched(names, functions)
    token = _CURRENT.set(watched if names or functions else None)
    try:
        yield watched
    finally:
        _CURRENT.reset(token)
