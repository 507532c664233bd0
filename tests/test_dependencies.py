"""What is installed against what is imported: nothing is missing, and nothing is for nothing.

A library that one command needs is in an extra and imported inside a function, or in a package
that belongs to the extra as a whole.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = (
    ROOT / "accweight_core",
    ROOT / "adapters" / "accweight_adapters",
    ROOT / "viewer" / "accweight_viewer",
)

IMPORTED_AS = {
    "OpenGL": "pyopengl",
    "PIL": "pillow",
    "backports": "backports.zstd",
    "google": "onnx",  # protobuf, which comes with it
    "google_crc32c": "google-crc32c",
    "llvmlite": "numba",
    "openTSNE": "opentsne",
    "onnxruntime": "onnxruntime-training",
    "quickjs": "quickjs-ng",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
}
"""Names of distributions whose modules have others, or which bring those modules along."""

WHOLE_EXTRAS = {
    "accweight_adapters.callbacks": "live",
    "accweight_adapters.demo": "demo",
    "accweight_adapters.execution": "live",
    "accweight_core.analysis.figures": "plot",
    "accweight_core.kernels.tensors": "live",
    "accweight_core.live": "live",
    "accweight_viewer": "viewer",
}
"""Packages that nobody imports without the extra."""

NOT_BROUGHT = {
    "aiohttp": "fsspec's own, met in its errors",
    "compression": "of Python 3.14",
    **dict.fromkeys(
        ("keras", "lightning", "pytorch_lightning", "stable_baselines3", "transformers"),
        "who trains with it has it, and imports the callback for it",
    ),
    "pytest": "who runs the contract of readers has it",
    "triton": "comes with torch where there is a GPU",
    "yarl": "fsspec's own, for its addresses",
    "zarr": "who has stored an analysis anew with it has it",
}

Import = tuple[str, str, bool]
"""The module that imports, what it imports, and whether it does so when it is imported itself."""


def distribution(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return name[0].lower()


def imports_of(tree: ast.AST, *, early: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield what a module imports, and whether at once; not what type checkers alone read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], early) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], early
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_of(node, early=early and not inside)


@pytest.fixture(scope="module")
def imported() -> list[Import]:
    """Return every import of a library in what users install."""
    found = []
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            found += [
                (module, name, early)
                for name, early in imports_of(ast.parse(path.read_text()))
                if name not in sys.stdlib_module_names and not name.startswith("accweight_")
            ]
    return found


def parts(name: str) -> set[str]:
    """Return the extras that an extra is made of, besides what it names itself."""
    items = [item for item in PROJECT["optional-dependencies"][name] if "accweight[" in item]
    return {part for item in items for part in item[item.index("[") + 1 : -1].split(",")}


def extra(name: str) -> set[str]:
    """Return what an extra brings, by way of others as well."""
    own = {distribution(item) for item in PROJECT["optional-dependencies"][name]} - {"accweight"}
    return own.union(*map(extra, parts(name)))


HARD = {distribution(item) for item in PROJECT["dependencies"]}
EXTRAS = set(PROJECT["optional-dependencies"]) - {"all", "dev"}


def test_what_is_imported_at_once_is_installed_with_accweight(imported: list[Import]) -> None:
    missing = set()
    for module, name, early in imported:
        there = set(HARD)
        for package, whole in WHOLE_EXTRAS.items():
            if f"{module}.".startswith(f"{package}."):
                there |= extra(whole)
        if early and name not in NOT_BROUGHT and IMPORTED_AS.get(name, name).lower() not in there:
            missing.add((module, name))

    assert missing == set()


def test_what_is_imported_at_all_is_in_an_extra_for_users(imported: list[Import]) -> None:
    there = HARD.union(*(extra(name) for name in EXTRAS))

    missing = {IMPORTED_AS.get(name, name).lower() for _, name, _ in imported} - there

    assert missing - NOT_BROUGHT.keys() == set()


def test_what_is_installed_with_accweight_is_imported(imported: list[Import]) -> None:
    used = {IMPORTED_AS.get(name, name).lower() for _, name, _ in imported}

    assert HARD - used == set()


def test_torch_is_brought_by_what_needs_it_alone() -> None:
    assert {name for name in EXTRAS if "torch" in extra(name)} == {"demo", "live", "probe"}
    assert "torch" not in HARD


def test_the_extra_all_brings_every_extra_but_that_of_one_platform() -> None:
    def brought(name: str) -> set[str]:
        return parts(name).union(*map(brought, parts(name)))

    assert brought("all") == EXTRAS - {"ort"}
    assert brought("dev") >= EXTRAS
