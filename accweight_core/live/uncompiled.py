"""Run a function as it is, also where `torch.compile` compiles what calls it.

Dynamo would trace a tracker like a part of the model, with tensors that have no values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")


def uncompiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return a function that dynamo leaves alone; dynamo is imported only while it compiles."""

    @wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        if torch.compiler.is_dynamo_compiling():
            from torch._dynamo import disable

            alone: Callable[Given, Result] = disable(function)  # type: ignore[no-untyped-call]
            return alone(*args, **kwargs)
        return function(*args, **kwargs)

    return called
