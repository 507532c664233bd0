"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import accweight_adapters
import accweight_core
import accweight_viewer

WITH_EXAMPLES = sorted(
    ".".join((package.__name__, *path.relative_to(folder).with_suffix("").parts))
    for package in (accweight_core, accweight_adapters, accweight_viewer)
    for folder in map(Path, package.__path__)
    for path in folder.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8") and path.name != "__init__.py"
)
"""Modules with examples; those of a whole package are about files that the reader has."""


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(name)

    outcome = doctest.testmod(module, extraglobs={"torch": importlib.import_module("torch")})

    assert outcome.attempted > 0
    assert outcome.failed == 0
