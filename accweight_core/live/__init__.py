"""Live: the same sums while a model trains, one step at a time, on its own device.

Nothing here is of use without tensors, so a missing torch is told of at the door.
"""

from accweight_core.errors import MissingLibraryError

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingLibraryError("torch", "live", "tracking a model while it trains") from error
