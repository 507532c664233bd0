"""Two runs side by side: which layers belong together, and how their rankings agree.

Names that stood in a module of this name can still be imported from here; each is loaded when
it is first asked for, so that a light import stays light.
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
    """Load a name from the module where it stands now."""
    if name in _HOMES:
        return getattr(import_module(f"accweight_core.alignment.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'accweight_core.alignment' has no attribute {name!r}")
