"""onnxruntime-training, imported when it is needed, and what to do where it is not there.

The wheels of training and of plain inference own one import name. Whichever was installed last
wins, and neither pip nor the import says that the other half is broken: so its symbols are asked
for before anything begins.
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
"""Severity from which the runtime speaks: all else comes back as an error anyway."""

NEWEST_IR: Final = 10
OLDEST_OPSET: Final = 13
NEWEST_OPSET: Final = 21
"""What version 1.19 takes: older operator sets have no gradients, newer ones no kernels."""


def has_wheels() -> bool:
    """Tell whether onnxruntime-training is published for this system."""
    is_linux = sys.platform.startswith("linux") and platform.machine() in ("x86_64", "AMD64")
    return is_linux and sys.version_info[:2] < (3, 12)


def runtime(part: str = "onnxruntime") -> ModuleType:
    """Return the runtime, or one of its modules, made quiet.

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
            "onnxruntime is installed, but not the one that trains: plain onnxruntime and "
            f"{LIBRARY} share one name, and the one installed last is left; run "
            f"pip uninstall onnxruntime {LIBRARY}, then pip install 'accweight[{EXTRA}]'"
        )
    onnxruntime.set_default_logger_severity(FATAL_ONLY)
    try:
        return importlib.import_module(part)
    except ImportError as error:
        raise AccweightError(
            f"{LIBRARY} is installed, but {part} cannot be imported ({error}); install it anew: "
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
    """Return what an error of the runtime says, without its file names and signatures."""
    text = " ".join(str(error).split())
    for mark in (" was false. ", "[ONNXRuntimeError] : ", "GetGradientDefsImpl() const "):
        _, found, rest = text.rpartition(mark)
        text = rest if found and rest else text
    return text.rstrip(". ")[:300]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep native code from writing to stderr meanwhile, where its remarks cannot be turned off."""
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
    """Return a session that runs a model forward."""
    onnxruntime = runtime()
    return onnxruntime.InferenceSession(model, options(threads), providers=["CPUExecutionProvider"])


def options(threads: int | None) -> Any:
    """Return options of a session: quiet, and with so many threads."""
    chosen = runtime().SessionOptions()
    chosen.log_severity_level = FATAL_ONLY
    chosen.use_deterministic_compute = True
    if threads is not None:
        chosen.intra_op_num_threads = threads
    return chosen
