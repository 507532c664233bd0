"""What the docs say is run: every Python snippet of a page, in one go, as a reader would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from checkpoints import states, write_run
from torch import nn

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/api.md")


def snippets(page: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S
    )


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run_as_they_stand(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "checkpoints", states(3))
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(3, 2)
    names: dict[str, Any] = {
        "model": model,
        "epochs": 2,
        "train_one_epoch": lambda model: nn.init.normal_(model.weight),
    }

    for snippet in snippets(page):
        exec(compile(snippet, page, "exec"), names)

    assert (tmp_path / "run.accw").is_dir()
    if page == "README.md":
        assert (tmp_path / "live.accw").is_dir()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "benchmarks/README.md",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))

    lost = [link for link in links if "://" not in link and not (path.parent / link).exists()]

    assert not lost
