"""Measure a model while it trains, one step at a time, on its own device.

The package needs tensors, so a missing torch is reported on import.
"""

from accweight_core.errors import MissingLibraryError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingLibraryError("torch", "live", "tracking a model while it trains") from error
