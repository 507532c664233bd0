"""What the tests of callbacks have in common: a page of the docs is run, runs are held together."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_docs import fenced

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.live.writing import BackgroundWriter, WaitingStep


def ran(page: str, **names: Any) -> dict[str, Any]:
    """Run the snippets of a page in `docs/frameworks`; return all names that there are then."""
    names = {"__name__": "__main__", **names}
    for snippet in fenced(f"docs/frameworks/{page}.md", "python"):
        exec(compile(snippet, page, "exec", dont_inherit=True), names)
    return names


def slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step take longer to write than a small network takes to train."""
    write = BackgroundWriter._write

    def slowly(self: BackgroundWriter, step: WaitingStep) -> None:
        time.sleep(0.2)
        write(self, step)

    monkeypatch.setattr(BackgroundWriter, "_write", slowly)


def measures_of(analysis: Analysis, name: str) -> list[float]:
    return [float(value) for value in analysis.header.measures[name]]


def check_same(tracked: Analysis, checkpoints: Path | list[Path], *steps: int) -> None:
    """Fail unless a tracked run is that of the checkpoints of the same steps, bit for bit."""
    expected = aw.analyze(aw.open_run(checkpoints))

    assert tracked.steps.tolist() == list(steps)
    assert expected.steps.tolist() == list(steps)
    assert [p.name for p in tracked.parameters] == [p.name for p in expected.parameters]
    assert tracked.values.tobytes() == expected.values.tobytes()
    assert np.nanmax(tracked.values[-1]) > 0
