"""Engines that run networks, found through the entry-point group ``accweight.networks``.

An entry point is a class derived from `Network` whose method `opened(source, **options)` gives a
network: "onnx" and "ort" take the path of an ONNX file, "module" a torch module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from accweight_core.alignment.graph_binding import check_is_file
from accweight_core.errors import MissingLibraryError, SourceError, UnsupportedOperatorError
from accweight_core.text import meant

GROUP = "accweight.networks"
OF_ONNX = ("onnx", "ort")
"""Engines for ONNX files; "auto" tries them in this order, as only the first has gradients."""


def engine_named(name: str) -> Callable[..., Any]:
    """Return what opens networks for an engine.

    Raises:
        SourceError: If there is none of that name; lists those installed.
        MissingLibraryError: If its library is not installed.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none"
        raise SourceError(
            f"no engine is called {name!r}; {meant(name, points)}installed engines: {known}"
        )
    try:
        opened: Callable[..., Any] = points[name].load().opened
    except ImportError as error:
        if isinstance(error, MissingLibraryError):
            raise
        raise MissingLibraryError(error.name or "torch", "live", "running a network") from None
    return opened


def open_onnx(path: str | Path, engine: str, device: str) -> Any:
    """Return the network in an ONNX file; see `Network.from_onnx`."""
    check_is_file(Path(path))
    if engine != "auto":
        return engine_named(engine)(Path(path), device=device)
    refusals: list[Exception] = []
    for name in OF_ONNX:
        try:
            return engine_named(name)(Path(path), device=device)
        except (MissingLibraryError, UnsupportedOperatorError) as error:
            refusals.append(error)
    raise refusals[0]


def open_module(
    module: Any,
    inputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
    nodes: Sequence[str] = (),
) -> Any:
    """Return the network that is a module or a function; see `Network.from_module`."""
    return engine_named("module")(module, inputs=tuple(inputs), weights=weights, nodes=tuple(nodes))
