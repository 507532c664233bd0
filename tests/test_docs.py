"""What the docs say is run: every Python snippet of a page, in one go, as a reader would.

Commands are parsed by the command itself, so that none names an option that does not exist.
Snippets that need machines (URLs, a cluster) call a double that takes what the real function takes.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import tomllib
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
import torch
from checkpoints import states, write_run
from torch import nn
from zoo import export

import accweight_core as aw
from accweight_core.cli.app import application
from accweight_core.runs.name_map import NameMap
from accweight_core.testing import ReaderCase, ReaderContract

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
ELSEWHERE = {
    "docs/cluster.md": ["open_run", "analyze"],
    "docs/remote.md": ["open_run"],
    "docs/revisions.md": ["open_run"],
}
"""Functions that need other machines or files, by page."""

FRAMEWORKS = "docs/frameworks/"
"""Pages with snippets that are run where the framework is imported; see `framework_runs`."""


def fenced(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_there_are_snippets_to_run() -> None:
    pages = [page for page in PAGES if fenced(page, "python")]

    assert {"README.md", "CONTRIBUTING.md", "docs/formats.md", "docs/check.md"} <= set(pages)


def same_arguments(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that takes what another one takes, and does nothing."""
    signature = inspect.signature(function)

    def double(*arguments: Any, **options: Any) -> None:
        signature.bind(*arguments, **options)

    return double


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if fenced(page, "python") and not page.startswith(FRAMEWORKS)],
)
def test_snippets_run_as_they_stand(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "checkpoints", states(3))
    monkeypatch.chdir(tmp_path)
    for function in ELSEWHERE.get(page, ()):
        monkeypatch.setattr(aw, function, same_arguments(getattr(aw, function)))
    model = nn.Linear(3, 2)
    if page == "docs/formats.md":
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    if page == "docs/networks.md":
        classes = nn.Sequential(OrderedDict(conv1=nn.Conv2d(1, 2, 25), flat=nn.Flatten()))
        export(classes, torch.zeros(2, 1, 28, 28), tmp_path / "net.onnx", dynamo=False)
    names: dict[str, Any] = {
        "__name__": "__main__",
        "aw": aw,
        "epochs": 2,
        "image": torch.zeros(1, 1, 5, 5),
        "images": np.zeros((4, 3), np.float32),
        "labels": np.zeros(4, np.int64),
        "model": model,
        "np": np,
        "pytest": pytest,
        "torch": torch,
        "train_one_epoch": lambda model: nn.init.normal_(model.weight),
    }

    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):  # torch warns of its own exporter
            warnings.simplefilter("ignore", kind)
        for snippet in fenced(page, "python"):
            exec(compile(snippet, page, "exec", dont_inherit=True), names)

    AFTERWARDS.get(page, lambda *_: None)(tmp_path, names)


def readme(folder: Path, names: dict[str, Any]) -> None:
    assert (folder / "run.accw").is_dir()
    assert (folder / "live.accw").is_dir()


def api(folder: Path, names: dict[str, Any]) -> None:
    assert (folder / "run.accw").is_dir()


def formats(folder: Path, names: dict[str, Any]) -> None:
    for file in ("model.onnx", "older.onnx"):
        operators = [node.op_type for node in onnx.load(str(folder / file)).graph.node]
        assert "BatchNormalization" in operators, f"{file} has the norm folded"


def contributing(folder: Path, names: dict[str, Any]) -> None:
    contract = names["TestRawReader"]
    assert issubclass(contract, ReaderContract)
    path, weights = folder / "model.raw", {"fc.weight": np.zeros((2, 3), np.float32)}
    path.write_bytes(b'{"fc.weight": [2, 3]}\n' + weights["fc.weight"].tobytes())
    contract().test_names_shapes_and_values_are_those_that_were_saved(
        ReaderCase(names["RawReader"](), path, weights)
    )


def networks(folder: Path, names: dict[str, Any]) -> None:
    assert names["made"]["conv1"].shape == (8, 2, 4, 4)
    assert names["saliency"].shape == names["x"].shape
    assert not names["silent"]["output"].any()


AFTERWARDS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "README.md": readme,
    "docs/api.md": api,
    "docs/formats.md": formats,
    "docs/networks.md": networks,
    "CONTRIBUTING.md": contributing,
}
"""What is to be seen after the snippets of a page."""


@pytest.mark.parametrize("page", PAGES)
def test_snippets_of_data_are_data(page: str, tmp_path: Path) -> None:
    for text in fenced(page, "toml"):
        tomllib.loads(text)
    for text in fenced(page, "json"):
        json.loads(text)


def test_the_map_of_the_docs_is_one(tmp_path: Path) -> None:
    (text,) = fenced("docs/comparing.md", "toml")
    (tmp_path / "map.toml").write_text(text)

    found = NameMap.read(tmp_path / "map.toml")

    assert found.layers["in_proj"].names == ("q", "k", "v")


def commands() -> list[tuple[str, str]]:
    """Return every command of accweight on a page, with the page."""
    found = []
    for page in PAGES:
        for block in fenced(page, "(?:sh)?"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page, line) for line in lines if line.startswith("accweight ")]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_of_the_docs_have_these_options(page: str, line: str) -> None:
    name, *arguments = shlex.split(re.split(r"\s{3,}| #", line)[0])[1:]
    app = application()
    command = app.get_command(click.Context(app), name)

    assert command is not None, f"{page}: no command is called {name}"
    command.make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))

    lost = [link for link in links if "://" not in link and not (path.parent / link).exists()]

    assert not lost
