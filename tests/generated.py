"""Runs that a framework itself writes, by programs in `generators` that are called in this process.

Tests of the framework's callback have imported it there already, which takes longer than the run.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

GENERATORS = Path(__file__).parent / "generators"


def write_generated(name: str, folder: Path) -> None:
    """Let a program of `generators` write into a folder; what the framework warns of is ignored."""
    spec = importlib.util.spec_from_file_location(name, GENERATORS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules[name] = program  # pickle looks for its classes there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec.loader.exec_module(program)
            program.write(folder)
    finally:
        del sys.modules[name]
