"""Fixtures that several test modules share."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from browser_pages import started
from hypothesis import settings
from oracle import Weights, raw_run
from thorough import up_to

from accweight_core.jit import tiers
from accweight_core.schema import Run

RawRun = Callable[..., Run]

# a loaded machine is no defect, and what has failed once is a test of its own
settings.register_profile("accweight", deadline=None, database=None, max_examples=up_to(100))
settings.load_profile("accweight")

gc.disable()  # modules and tests, which are made now, stay for good


LONG_IMPORTS = (
    "alignment_exports", "binding", "companions", "equivalence", "heads_of_formats", "jax", "keras",
    "lightning", "memory", "onnx", "sb3", "tracker_models", "trainer", "training_loops",
)  # fmt: skip
"""How files begin that import JAX, Keras, Lightning, or the exporter and the compiler of torch.

That takes up to eight seconds each. Of two workers the first gets the first half of the tests.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests with long imports first, so that one worker does these, and not each."""
    names = tuple(f"test_{name}" for name in LONG_IMPORTS)
    items.sort(key=lambda item: not item.path.name.startswith(names))


def pytest_collection_finish() -> None:
    """Leave what has been imported out of every search for garbage but the last one.

    At the very end, compiled modules complain of what outlives them.
    """
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)


if "PYTEST_XDIST_WORKER" in os.environ:
    # tests beside each other have a core each: threads of torch that wait for another core wait
    # busily, and a small network was trained in ten times the time
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

if not torch.cuda.is_available():  # has to be said before anything imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")
with suppress(ImportError):  # torch loads it late: after Mesa has loaded its LLVM, that crashes
    import_module("triton")


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a process does, whose small work goes through loops of NumPy."""
    monkeypatch.setattr(tiers, "_done", Counter())


@pytest.fixture
def stored(tmp_path: Path) -> RawRun:
    """Return what writes checkpoints as raw bytes and describes them as a run."""

    def store(checkpoints: Sequence[Weights], *described: object) -> Run:
        folder = tmp_path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return raw_run(folder, checkpoints, *described)

    return store


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """Return torch's own thread setting, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- the viewer ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def qapp() -> Any:
    """The application as the viewer makes it: pytest-qt's own lacks the surface format.

    Tests that run at the same time have a screen each: there is one keyboard focus per screen,
    and who loses it does not fly any more.
    """
    from accweight_viewer.display import application, has_display, need_display

    together = "PYTEST_XDIST_WORKER" in os.environ
    if (together or not has_display()) and shutil.which("Xvfb"):
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            os.environ.pop(name, None)
        need_display(1920, 1200, virtual=True)
    return application()


@pytest.fixture(autouse=True)
def painting_errors(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail where painting failed: pyqtgraph prints such errors, and goes on."""
    if request.node.get_closest_marker("gl") is None:
        yield
        return
    from pyqtgraph import debug

    found: list[str] = []
    monkeypatch.setattr(debug, "printExc", lambda *_, **__: found.append(debug.getExc()))
    yield
    assert not found, "\n".join(found)


@pytest.fixture
def opened(qtbot: Any) -> Callable[..., Any]:
    """Return what opens the viewer on analyses and waits until all is drawn."""
    from window_driver import settle

    from accweight_viewer.opening import opened_window

    kept = []  # a window that is collected while another is drawn takes the OpenGL context along

    def open_window(*paths: Path, size: tuple[int, int] = (1200, 800), **options: Any) -> Any:
        window = opened_window(paths, size, options.pop("chosen", None), **options)
        kept.append(window)
        qtbot.addWidget(window)
        with qtbot.waitActive(window):
            window.activateWindow()
        settle(window)
        return window

    return open_window


@pytest.fixture(scope="module")
def window_of(qapp: Any) -> Iterator[Callable[..., Any]]:
    """Return what opens the viewer for all tests of a module, and waits until all is drawn."""
    from window_driver import settle

    from accweight_viewer.opening import opened_window

    kept = []

    def open_window(*paths: Path, size: tuple[int, int] = (1200, 800), **options: Any) -> Any:
        window = opened_window(paths, size, options.pop("chosen", None), **options)
        kept.append(window)
        window.activateWindow()
        settle(window)
        return window

    yield open_window
    for window in kept:
        window.close()


@pytest.fixture
def own_settings(tmp_path: Path, qapp: Any) -> Iterator[Path]:
    """Return where settings are kept meanwhile, instead of the user's own place."""
    from pyqtgraph.Qt import QtCore

    folder = tmp_path / "settings"
    kind, scope = QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope
    file = QtCore.QSettings(kind, scope, "accweight", "viewer").fileName()
    QtCore.QSettings.setPath(kind, scope, str(folder))
    yield folder
    QtCore.QSettings.setPath(kind, scope, str(Path(file).parent.parent))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 640 KiB; skips where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a browser for the tests of a module; its loop would disturb those of others."""
    with started() as found:
        yield found
