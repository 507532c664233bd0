"""Two runs side by side: which layers correspond, and how their rankings agree.

Names of the former module `alignment` can still be imported from here; each is loaded on first
use, to keep imports light.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "align": "alignment",
    "aligned": "alignment",
    "Alignment": "matching.result",
    "compare": "comparison",
}


def __getattr__(name: str) -> Any:
    """Load a name from its present module."""
    if name in _HOMES:
        return getattr(import_module(f"accweight_core.alignment.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'accweight_core.alignment' has no attribute {name!r}")
