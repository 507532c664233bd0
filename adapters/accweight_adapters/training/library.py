"""Import onnxruntime-training when it is needed, and explain what to do if it is missing.

The packages onnxruntime-training and onnxruntime share one import name. The one installed last
overwrites the other, and neither pip nor the import reports it. So its symbols are checked before
training starts.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from accweight_core.errors import AccweightError, MissingLibraryError

LIBRARY: Final = "onnxruntime-training"
EXTRA: Final = "ort"
PURPOSE: Final = "training an ONNX model"
FATAL_ONLY: Final = 4
"""Log level of the runtime; all errors are raised as exceptions anyway."""

NEWEST_IR: Final = 10
OLDEST_OPSET: Final = 13
NEWEST_OPSET: Final = 21
"""Newest operator set of version 1.19; older ones lack gradients, newer ones kernels."""


def has_wheels() -> bool:
    """Tell whether onnxruntime-training has a wheel for this system."""
    is_linux = sys.platform.startswith("linux") and platform.machine() in ("x86_64", "AMD64")
    return is_linux and sys.version_info[:2] < (3, 12)


def runtime(part: str = "onnxruntime") -> ModuleType:
    """Return the runtime, or one of its modules, with logging turned down.

    Raises:
        MissingLibraryError: If it is not installed.
        AccweightError: If another package has overwritten it, or none exists for this system.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError:
        raise _missing() from None
    native = getattr(getattr(onnxruntime, "capi", None), "_pybind_state", None)
    if not hasattr(native, "GradientGraphBuilder"):
        raise AccweightError(
            "onnxruntime is installed, but not the training package: plain onnxruntime and "
            f"{LIBRARY} share one name and overwrite each other; run "
            f"pip uninstall onnxruntime {LIBRARY}, then pip install 'accweight[{EXTRA}]'"
        )
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    try:
        return importlib.import_module(part)
    except ImportError as error:
        raise AccweightError(
            f"{LIBRARY} is installed, but {part} cannot be imported ({error}); reinstall it: "
            f"pip install --force-reinstall 'accweight[{EXTRA}]'"
        ) from None


def _missing() -> AccweightError:
    if has_wheels():
        return MissingLibraryError(LIBRARY, EXTRA, PURPOSE)
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.platform(terse=True)}"
    return AccweightError(
        f"{PURPOSE} needs {LIBRARY}, which exists for Linux on x86-64 with Python up to 3.11 "
        f"alone; this is {here}: train there, the checkpoints can be analysed anywhere"
    )


def reason_of(error: Exception) -> str:
    """Return the message of a runtime error, without file names and signatures."""
    text = " ".join(str(error).split())
    for mark in (" was false. ", "[ONNXRuntimeError] : ", "GetGradientDefsImpl() const "):
        _, found, rest = text.rpartition(mark)
        text = rest if found and rest else text
    return text.rstrip(". ")[:300]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress stderr of native code in this context, for messages that cannot be turned off."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def session(model: bytes, threads: int | None = None) -> Any:
    """Return a session for inference with a model."""
    onnxruntime = runtime()
    return onnxruntime.InferenceSession(model, options(threads), providers=["CPUExecutionProvider"])


def options(threads: int | None) -> Any:
    """Return session options: quiet, and with a number of threads."""
    chosen = runtime().SessionOptions()
    chosen.log_severity_level = FATAL_ONLY
    chosen.use_deterministic_compute = True
    if threads is not None:
        chosen.intra_op_num_threads = threads
    return chosen
