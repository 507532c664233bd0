"""Devices of torch: which there are, and settings under which a GPU computes what a CPU does.

Left alone, convolutions on a GPU round what they multiply to 10 bits (TF32), and may take another
kernel, or add in another order, each time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from accweight_core.errors import ArgumentValueError


def device_named(name: str) -> torch.device:
    """Return a device that is here, with its number.

    Raises:
        ArgumentValueError: If torch knows none of that name, or cannot use it.
    """
    try:
        device = torch.device(name.lower())
    except RuntimeError:
        reason = "torch knows no such name"
    else:
        if device.type == "cpu":
            return torch.device("cpu")
        reason = "it holds no values"
        if device.type != "meta":
            try:
                return torch.zeros(1, device=device).device
            except Exception as error:  # what torch raises depends on the device
                first = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
                reason = f"{first.rstrip('.')} (torch {torch.__version__})"
    raise ArgumentValueError(
        f"device {name!r} cannot be used: {reason}; take one that is here: {', '.join(_here())}"
    )


def _here() -> list[str]:
    """Return the names of the usual devices that are here."""
    found = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in full float32 on a GPU, and in the same order each time where torch can.

    Settings of torch hold for the whole process: of several threads, the last one puts them back.
    """
    if device.type != "cuda":
        yield
        return
    _FULL_PRECISION.begin()
    try:
        yield
    finally:
        _FULL_PRECISION.end()


@dataclass
class _FullPrecision:
    """Settings that hold while any thread needs them."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _users: int = 0
    _before: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        with self._lock:
            if not self._users:
                with ExitStack() as stack:
                    _set_all(stack)
                    self._before = stack.pop_all()
            self._users += 1

    def end(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._before.close()


_FULL_PRECISION = _FullPrecision()


def _set_all(stack: ExitStack) -> None:
    _without_tf32(stack)
    cudnn = torch.backends.cudnn
    _set_to(stack, cudnn, "benchmark", False)  # it takes the kernel that was fastest this time
    _set_to(stack, cudnn, "deterministic", True)
    if not torch.are_deterministic_algorithms_enabled():
        # as errors, a backward pass through a bilinear resize would be one
        torch.set_deterministic_debug_mode("warn")
        stack.callback(torch.set_deterministic_debug_mode, "default")
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="(?s).*determinis")


def _without_tf32(stack: ExitStack) -> None:
    """Have products and convolutions take all bits of float32."""
    cudnn: Any = torch.backends.cudnn
    try:
        _set_to(stack, cudnn, "allow_tf32", False)
    except RuntimeError:  # set by the newer names of these settings, which bars the older ones
        _set_to(stack, cudnn.conv, "fp32_precision", "ieee")
        _set_to(stack, cudnn.rnn, "fp32_precision", "ieee")
    try:
        precision = torch.get_float32_matmul_precision()
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
    except RuntimeError:
        _set_to(stack, torch.backends.cuda.matmul, "fp32_precision", "ieee")


def _set_to(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until a stack is unwound."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    stack.callback(setattr, owner, name, before)
