"""A window on an analysis that is probed while it is open: what is found appears in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import exported
from probe_networks import Classifier, write_states
from window_driver import (
    OpenWindow,
    go_to,
    picture,
    plate_called,
    rgb,
    settle,
    shown_panes,
    some_texels,
    texel_colour,
)

import accweight_core as aw
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

STEPS, DEAD = 4, "activations.dead"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with checkpoints, their network, and samples."""
    folder = tmp_path_factory.mktemp("probing")
    torch.manual_seed(0)
    states, net = [], Classifier()
    with torch.no_grad():
        for _ in range(STEPS):
            states.append({name: value.clone() for name, value in net.state_dict().items()})
            for value in net.parameters():
                value += 0.1 * torch.rand_like(value)
    write_states(folder / "checkpoints", states)
    samples = torch.rand(24, 1, 8, 8)
    exported(net, samples[:1], folder / "net.onnx")
    np.savez(folder / "data.npz", x=samples.numpy(), y=np.arange(24) % 3)
    return folder


@pytest.fixture
def analysis(trained: Path, tmp_path: Path) -> Path:
    aw.analyze(aw.open_run(trained / "checkpoints"), tmp_path / "run.accw")
    return tmp_path / "run.accw"


def probing(analysis: Path, trained: Path, *asked: str) -> subprocess.Popen[str]:
    """Have another process probe an analysis."""
    command = [sys.executable, "-m", "accweight_core", "probe", str(analysis)]
    command += ["--model", str(trained / "net.onnx"), "--data", str(trained / "data.npz")]
    command += [word for name in asked for word in ("--probe", name)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def wait_for(window: MainWindow, other: subprocess.Popen[str]) -> list[list[str]]:
    """Let the window live until the other process has ended and all is shown; return what was."""
    window.growth.timer.setInterval(20)
    stop, seen = time.monotonic() + 90, list[list[str]]()
    results = window.session.runs[0].path / "probes"
    while True:
        ended = other.poll() is not None
        window.process()
        found = window.session.runs[0].results
        if not seen or seen[-1] != list(found):
            seen.append(list(found))
        there = {result.path.name: len(result.steps) for result in found.values()}
        if ended and results.exists() and set(there.values()) == {STEPS}:
            break
        assert time.monotonic() < stop, (other.returncode, there)
    said, _ = other.communicate()
    assert other.returncode == 0, said
    return seen


def wait_until(window: MainWindow, seen: Callable[[], bool]) -> None:
    """Let the window live until something is seen."""
    stop = time.monotonic() + 30
    while not seen():
        window.process()
        assert time.monotonic() < stop


def test_what_probes_find_appears_in_the_open_window(
    opened: OpenWindow, analysis: Path, trained: Path
) -> None:
    window = opened(analysis, size=(1400, 900), chosen={"labels": False})
    session, controls = window.session, window.controls
    go_to(window, "fc1")
    run, content = session.runs[0], window.scenes[0].content
    before = controls.plate_values.isVisibleTo(window), window.found.isVisibleTo(window)

    seen = wait_for(window, probing(analysis, trained, "evaluate", "activations", "embedding"))
    wait_until(window, lambda: window.found.graph.isVisibleTo(window))
    settle(window)

    assert before == (False, False)
    assert seen[0] == []
    assert sorted(seen[-1]) == ["activations", "embedding", "evaluate"]
    assert window.found.isVisibleTo(window)
    assert shown_panes(window) == ["ScatterPane", "SheetPane", "GraphPane"]
    assert controls.plate_values.isVisibleTo(window)
    assert controls._valued in controls.row.inside
    assert window.timeline.metric.findData(DEAD) >= 0
    assert DEAD in window.table.header.column_menu().choices
    assert "evaluate.loss" in {measure.name for measure in window.timeline.plot._chart.measures}
    assert session.layer == "fc1", "what was selected stays"
    assert window.scenes[0].content is content, "no plate is read again"
    assert session.runs[0] is not run
    assert session.runs[0].plates is run.plates


def test_a_graph_that_is_stored_after_all_results_appears(
    opened: OpenWindow, analysis: Path, trained: Path
) -> None:
    other = probing(analysis, trained, "activations", "embedding")
    other.communicate(timeout=90)
    (analysis / "graph").rename(analysis / "later")
    window = opened(analysis, size=(1400, 900), chosen={"labels": False})
    settle(window)
    before = shown_panes(window)

    (analysis / "later").rename(analysis / "graph")
    wait_until(window, lambda: window.found.graph.isVisibleTo(window))

    assert before == ["ScatterPane", "SheetPane"]
    assert shown_panes(window) == ["ScatterPane", "SheetPane", "GraphPane"]


def test_values_of_units_follow_a_probe_that_goes_on(
    opened: OpenWindow, analysis: Path, trained: Path
) -> None:
    first = [sys.executable, "-m", "accweight_core", "probe", str(analysis), "--steps", "0"]
    first += ["--model", str(trained / "net.onnx"), "--data", str(trained / "data.npz")]
    subprocess.run([*first, "--probe", "activations"], check=True, capture_output=True)
    window = opened(analysis, chosen={"labels": False, "plate_values": "activations.values"})
    go_to(window, "fc1")
    plate = plate_called(window, "fc1.weight")

    def colours() -> list[Any]:
        seen = picture(window.scenes[0])
        return [texel_colour(window.scenes[0], seen, plate, *at) for at in some_texels(plate)]

    at_first = colours()
    wait_for(window, probing(analysis, trained, "activations"))
    settle(window)

    assert colours() != at_first, "the step that is shown has been probed"
    assert rgb(DARK.gap) not in colours()
