"""Analysis: tables, rankings and exact values of a measured run.

Names of the former module `analysis` can still be imported from here; each is loaded on first
use, to keep imports light.
"""

from importlib import import_module
from typing import Any

_HOMES = {"Analysis": "analysis", "open_analysis": "analysis"}


def __getattr__(name: str) -> Any:
    """Load a name from its present module."""
    if name in _HOMES:
        return getattr(import_module(f"accweight_core.analysis.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'accweight_core.analysis' has no attribute {name!r}")
