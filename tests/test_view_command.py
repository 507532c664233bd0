"""``accweight view``: pictures and movies with and without a screen, and one line for an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from probe_results import stored_results
from test_imports import BLOCKER, loaded_by, run_python, running
from viewer_helpers import run_of, stopped, stored, walks

from accweight_core.cli.app import run as run_command
from accweight_core.colours.scale import colour_table
from accweight_viewer import capture, opening
from accweight_viewer.display import DEBIAN_PACKAGES
from accweight_viewer.theme import LIGHT

needs_screen = pytest.mark.gl
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
STEPS = [0, 10, 20]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("view"), "net", steps=[0, 10, 20, 30, 40])


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints: a short movie."""
    return stored(tmp_path_factory.mktemp("walked"), "walked", walks(["a", "b"], 3), steps=STEPS)


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)


def without_display(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in DISPLAYS}
    return kept | more


def view(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "accweight_core", "view", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=env, timeout=100
    )


View = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def view_here(
    qtbot: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> View:
    """Return what runs the command in this process, which has imported and connected already."""
    open_window = opening.opened_window
    kept = []  # a window that is collected while another is drawn takes the OpenGL context along

    def opened_window(*arguments: Any, **options: Any) -> Any:
        kept.append(open_window(*arguments, **options))
        qtbot.addWidget(kept[-1])
        return kept[-1]

    def view_here(*arguments: object) -> subprocess.CompletedProcess[str]:
        code = run_command(["view", *map(str, arguments)])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    monkeypatch.setattr(opening, "opened_window", opened_window)
    return view_here


def picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def rgb(text: str) -> list[int]:
    return list(bytes.fromhex(text.removeprefix("#")))


def frames_of(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# --- pictures ---------------------------------------------------------------------------------


@pytest.fixture
def virtual_screen(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return an environment without a screen in which Xvfb leaves its process id."""
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("there is no Xvfb")
    folder, note = tmp_path / "bin", tmp_path / "bin" / "pid"
    folder.mkdir()
    (folder / "Xvfb").write_text(f'#!/bin/sh\necho $$ > {note}\nexec {program} "$@"\n')
    (folder / "Xvfb").chmod(0o755)
    yield without_display(PATH=f"{folder}:{os.environ['PATH']}")
    stop = time.monotonic() + 10
    while psutil.pid_exists(int(note.read_text())):
        assert time.monotonic() < stop, "the X server is still there"
        time.sleep(0.02)


@needs_screen
def test_a_screenshot_has_the_size_asked_for_and_shows_the_network(
    analysis: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new folder" / "out.png"

    done = view(analysis, "--screenshot", out, "--size", "900x640")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}\n"
    seen = picture(out)
    assert seen.shape == (640, 900, 3)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 200
    assert os.listdir(out.parent) == ["out.png"]


def test_a_screenshot_needs_no_screen_and_leaves_no_server_behind(
    analysis: Path, tmp_path: Path, virtual_screen: dict[str, str]
) -> None:
    out = tmp_path / "out.png"

    done = view(analysis, "--screenshot", out, "--size", "1000x700", env=virtual_screen)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out}\n"
    assert picture(out).shape == (700, 1000, 3)
    assert len(np.unique(picture(out).reshape(-1, 3), axis=0)) > 200


@needs_screen
def test_a_bare_screenshot_is_the_scene_between_its_title_and_the_legend(
    view_here: View, analysis: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"

    done = view_here(
        analysis, "--screenshot", out, "--size", "400x300", "--bare", "--theme", "light"
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert picture(out).shape == (300, 400, 3)
    scene = (picture(out) == rgb(LIGHT.page)).all(axis=2)
    rows = np.flatnonzero(scene[:, [0, 399]].all(axis=1))
    assert 100 < len(rows) == rows[-1] - rows[0] + 1 < 300


@needs_screen
def test_step_layer_and_colours_can_be_chosen(
    view_here: View, analysis: Path, tmp_path: Path
) -> None:
    out = [tmp_path / f"{name}.png" for name in ("first", "last")]
    size = ("--size", "500x400", "--bare")
    chosen = ("--layer", "fc1", "--colours", "magma", "--log", "--scope", "global")

    done = [
        view_here(analysis, "--screenshot", path, *size, *chosen, *more)
        for path, more in zip(out, (("--at", 0), ()), strict=True)
    ]

    assert [(d.returncode, d.stderr) for d in done] == [(0, "")] * 2
    first, last = (picture(path).astype(int) for path in out)
    middle = slice(170, 230), slice(200, 300)
    assert {tuple(pixel) for pixel in first[middle].reshape(-1, 3).tolist()} == {(0, 0, 4)}
    red, green, _ = last[middle].reshape(-1, 3).T
    assert (red - green > 30).mean() > 0.3, "magma is not grey"


@needs_screen
def test_two_analyses_and_their_difference(view_here: View, analysis: Path, tmp_path: Path) -> None:
    beside, between = tmp_path / "beside.png", tmp_path / "difference.png"
    size = ("--size", "600x400", "--bare")

    first = view_here(analysis, analysis, "--screenshot", beside, *size)
    second = view_here(analysis, analysis, "--screenshot", between, *size, "--difference")

    assert [(d.returncode, d.stderr) for d in (first, second)] == [(0, "")] * 2
    halves = np.split(picture(beside)[40:], 2, axis=1)
    assert all(len(np.unique(half.reshape(-1, 3), axis=0)) > 50 for half in halves)
    neutral = colour_table("difference")[127].astype(int)
    shares = [
        (np.abs(picture(path) - neutral).max(axis=2) <= 2).mean() for path in (beside, between)
    ]
    assert shares[1] > max(0.02, 10 * shares[0]), "a run minus itself"


@needs_screen
def test_json_is_one_document_alone(view_here: View, walked: Path, tmp_path: Path) -> None:
    png, gif = tmp_path / "out.png", tmp_path / "out.gif"
    options = ("--size", "320x240", "--bare", "--at", 10)

    done = view_here(walked, "--screenshot", png, "--movie", gif, "--json", *options)

    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "step": 10,
        "screenshot": str(png),
        "movie": str(gif),
        "frames": 22,
    }
    assert picture(png).shape == (240, 320, 3)


@needs_screen
def test_an_unfinished_analysis_can_be_pictured(view_here: View, tmp_path: Path) -> None:
    path = stopped(run_of(tmp_path / "run", walks(["a", "b", "c"], 3)), tmp_path / "run.accw", 1)

    done = view_here(path, "--screenshot", tmp_path / "out.png", "--size", "640x480")

    assert (done.returncode, done.stderr) == (0, "")
    assert picture(tmp_path / "out.png").shape == (480, 640, 3)


# --- movies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("screen", [pytest.param("with a screen", marks=pytest.mark.gl), "without"])
def test_an_mp4_plays_the_timeline_once(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    walked: Path,
    tmp_path: Path,
    screen: str,
) -> None:
    folder = tmp_path / "film"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if screen == "without":
        view_it: View = partial(view, env=request.getfixturevalue("virtual_screen"))
    else:
        view_it = request.getfixturevalue("view_here")

    done = view_it(walked, "--movie", "run:1.mp4", "--size", "321x241", "--bare")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "run:1.mp4\n"
    frames = frames_of(folder / "run:1.mp4")
    assert len(frames) == round(2 / 3 * 30) + round(0.8 * 30), "two steps, three a second, a rest"
    assert {frame.shape for frame in frames} == {(240, 320, 3)}, "an odd line is left out"
    brightness = [float(frame.mean()) for frame in frames]
    assert brightness[-1] > brightness[0] + 1
    assert np.diff(brightness).min() > -0.5, "it never falls"
    assert os.listdir(folder) == ["run:1.mp4"]


@needs_screen
def test_a_gif_plays_the_timeline_once(view_here: View, walked: Path, tmp_path: Path) -> None:
    from PIL import Image, ImageSequence

    out = tmp_path / "out.gif"

    done = view_here(walked, "--movie", out, "--size", "320x240", "--bare")

    assert done.returncode == 0, done.stderr
    with Image.open(out) as image:
        frames = [np.asarray(f.convert("RGB")).mean() for f in ImageSequence.Iterator(image)]
        lasts = sum(f.info["duration"] for f in ImageSequence.Iterator(image))
    assert frames[-1] > frames[0] + 1
    assert lasts == pytest.approx(1000 * (2 / 3 + 0.8), rel=0.15)


# --- metrics of probes ------------------------------------------------------------------------


@needs_screen
def test_a_number_of_a_probe_ranks_and_has_curves(
    view_here: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed, out, open_window = stored_results(tmp_path / "run.accw"), tmp_path / "out.png", []
    opened_window = opening.opened_window

    def kept_window(*arguments: Any, **options: Any) -> Any:
        open_window.append(opened_window(*arguments, **options))
        return open_window[-1]

    monkeypatch.setattr(opening, "opened_window", kept_window)

    done = view_here(
        probed, "--by", "everything.sparsity", "--size", "900x700", "--screenshot", out
    )

    assert (done.returncode, done.stderr) == (0, "")
    session = open_window[0].session
    assert session.columns == ["everything.sparsity", "relative", "rotation"]
    assert session.settings.curve_metric == "everything.sparsity"
    assert out.exists()


@pytest.mark.usefixtures("no_display")
def test_a_number_that_no_probe_found_is_said_before_a_window_opens(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, analysis: Path
) -> None:
    probed = stored_results(tmp_path / "run.accw")

    code, told = said(capsys, analysis, probed, "--by", "everything.lost")
    none, of_none = said(capsys, analysis, "--by", "activations.dead")

    assert (code, none) == (1, 1)
    assert told.startswith("accweight: no number of layers is called 'everything.lost'; ")
    assert "probes have found everything.sparsity" in told
    assert of_none.endswith("'activations.dead'; probes have found none\n")


@pytest.mark.usefixtures("no_display")
def test_the_name_of_a_probe_alone_is_answered_as_by_rank(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    probed = stored_results(tmp_path / "run.accw")

    code, told = said(capsys, probed, "--by", "everything")
    _, of_none = said(capsys, probed, "--by", "speed")
    run_command(["rank", str(probed), "--by", "everything"])

    assert (code, told) == (1, capsys.readouterr().err)
    assert "'everything' is a probe; say which of its numbers of layers: everything.spars" in told
    assert "no metric is called 'speed'; metrics are mean, " in of_none


# --- errors in one line -----------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run the command here; return its exit code and the one line on stderr."""
    code = run_command(["view", *map(str, arguments)])
    printed = capsys.readouterr()
    assert printed.out == ""
    return code, printed.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{tmp}/none.accw"], "none.accw: there is no such analysis"),
        (["{tmp}"], "this is not an accweight analysis"),
        (["{net}", "{tmp}/none.accw"], "none.accw: there is no such analysis"),
        (["{net}", "--screenshot", "out.jpg"], "out.jpg: a screenshot is a PNG"),
        (["{net}", "--screenshot", "out"], "out: a screenshot is a PNG"),
        (["{net}", "--movie", "out.avi"], "out.avi: a movie is an MP4 or a GIF"),
        (["{net}"], "there is no display to open a window on"),
    ],
)
@pytest.mark.usefixtures("no_display")
def test_what_cannot_be_shown_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str],
    analysis: Path,
    tmp_path: Path,
    arguments: list[str],
    line: str,
) -> None:
    code, told = said(capsys, *(a.format(net=analysis, tmp=tmp_path) for a in arguments))

    assert code == 1
    assert told.count("\n") == 1
    assert told.startswith("accweight: ")
    assert line in told


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{net}"] * 9, "at most 8 analyses are shown, got 9"),
        (["{net}", "--difference"], "--difference needs two analyses"),
        (["{net}", "--size", "big"], "'big' is not a size; expected WIDTHxHEIGHT"),
        (["{net}", "--size", "10x10"], "10x10 is out of range; from 320x240"),
        (["{net}", "--size", "99999x400"], "99999x400 is out of range"),
        (["{net}", "--at", "soon"], "Invalid value for '--at'"),
        (["{net}", "--theme", "pink"], "'pink' is not one of"),
        (["--screenshot", "a.png"], "name an analysis"),
    ],
)
@pytest.mark.usefixtures("no_display")
def test_wrong_usage_is_said_to_be(
    capsys: pytest.CaptureFixture[str], analysis: Path, arguments: list[str], line: str
) -> None:
    code, told = said(capsys, *(a.format(net=analysis) for a in arguments))

    assert code == 2
    assert line in told
    assert "Traceback" not in told


def test_help_needs_no_screen(capsys: pytest.CaptureFixture[str], no_display: None) -> None:
    code = run_command(["view", "--help"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "--screenshot" in shown
    assert "--difference" in shown


def test_without_screen_and_virtual_screen_the_packages_are_named(
    capsys: pytest.CaptureFixture[str],
    analysis: Path,
    tmp_path: Path,
    no_display: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    code, told = said(capsys, analysis, "--screenshot", tmp_path / "out.png")

    assert code == 1
    assert told.count("\n") == 1
    assert f"apt-get install {DEBIAN_PACKAGES}" in told
    assert "xvfb" in told
    assert os.listdir(tmp_path) == []


@needs_screen
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--at", "15"], "accweight: there is no step 15; the 5 steps go from 0 to 40"),
        (["--layer", "<b>\n"], "accweight: no layer is called '<b>\\n'; layers are "),
    ],
)
def test_unknown_steps_and_layers_are_said_in_one_line(
    view_here: View, analysis: Path, tmp_path: Path, arguments: list[str], line: str
) -> None:
    out = tmp_path / "out.png"

    done = view_here(analysis, "--screenshot", out, "--size", "320x240", *arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not out.exists()


def ignored(done: int, total: int) -> None:
    """Take note of progress."""


@needs_screen
@pytest.mark.parametrize("name", ["out.png", "out.mp4", "out.gif"])
@pytest.mark.parametrize("folder", ["file", "file/below", "/proc"])
def test_a_folder_that_cannot_be_written_to_is_said_to_be(
    opened: Callable[..., Any], walked: Path, tmp_path: Path, name: str, folder: str
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / folder / name
    window = opened(walked, size=(320, 240), bare=True, capturing=True)

    write = capture.screenshot if name == "out.png" else partial(capture.movie, progress=ignored)
    with pytest.raises(capture.CaptureError) as caught:
        write(window, out)

    assert str(caught.value).startswith(f"{out}: the ")
    assert "cannot be written" in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@needs_screen
def test_a_damaged_picture_is_said_in_one_line_and_nothing_is_written(
    view_here: View, tmp_path: Path
) -> None:
    path = stored(tmp_path, "net", walks(["a", "b"], 3))
    for file in (path / "pictures").rglob("c.*"):
        file.write_bytes(b"short")
    (tmp_path / "out").mkdir()

    done = view_here(path, "--screenshot", tmp_path / "out" / "out.png", "--size", "320x240")

    assert done.returncode == 1
    assert done.stderr.startswith("accweight: a.weight: ")
    assert "is damaged" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "out") == []


@needs_screen
def test_a_size_that_is_asked_for_is_that_of_the_window_whatever_it_was_last_time(
    qtbot: Any,
    capsys: pytest.CaptureFixture[str],
    walked: Path,
    own_settings: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows: list[Any] = []
    monkeypatch.setattr("accweight_viewer.command._run", windows.append)
    sizes = []

    for options in ((), ("--size", "700x500"), (), ("--size", "640x480", "--theme", "light")):
        code, told = said(capsys, walked, *options)
        window = windows[-1]
        qtbot.addWidget(window)
        sizes.append((window.width(), window.height()))
        window.close()
        assert (code, told) == (0, "")

    assert sizes == [(1600, 1000), (700, 500), (700, 500), (640, 480)]
    assert windows[-1].session.settings.theme == "light"
    assert list(own_settings.rglob("*.ini"))


@pytest.mark.parametrize("wayland", [{}, {"WAYLAND_DISPLAY": "wayland-97"}])
def test_a_display_that_cannot_be_reached_is_said_in_one_line(
    analysis: Path, tmp_path: Path, wayland: dict[str, str]
) -> None:
    env = without_display(DISPLAY=":97", XDG_RUNTIME_DIR=str(tmp_path)) | wayland

    done = view(analysis, env=env)

    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("accweight: Qt cannot open a window (could not connect to ")
    assert ":97); is the display reachable?" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("missing", ["PyQt5", "pyqtgraph", "OpenGL"])
def test_a_viewer_that_is_not_installed_says_how_to_install_it(
    analysis: Path, missing: str
) -> None:
    others = ("PyQt6", "PySide2", "PySide6") if missing == "PyQt5" else ()

    printed = run_python(
        "import os, sys\n"
        "os.environ['DISPLAY'] = ':97'\n"
        "from accweight_core.cli.app import run\n"
        "sys.stderr = sys.stdout\n"
        f"print(run(['view', {str(analysis)!r}]))",
        without=(missing, *others),
    )

    line, code = printed.splitlines()
    assert code == "1"
    assert line.startswith("accweight: ")
    assert "pip install 'accweight[viewer]'" in line


@pytest.mark.parametrize(
    ("movie", "module", "told"),
    [
        ("out.mp4", "av", ("an MP4, unlike a GIF, needs PyAV, which is not installed; "
         "install it with: pip install 'accweight[movie]'")),
        ("out.gif", "PIL", ("a GIF needs Pillow, which is not installed; "
         "install it with: pip install 'accweight[viewer]'")),
    ],
)  # fmt: skip
def test_a_movie_without_its_library_names_what_to_install(
    walked: Path, tmp_path: Path, movie: str, module: str, told: str
) -> None:
    if not shutil.which("Xvfb"):
        pytest.skip("there is no Xvfb")
    program = (
        f"BLOCKED = ({module!r},)\n{BLOCKER}\n"
        "from accweight_core.cli.app import run\n"
        "sys.exit(run(['view', *sys.argv[1:]]))"
    )
    arguments = (walked, "--movie", tmp_path / movie, "--size", "320x240", "--bare")

    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert told in done.stderr
    assert os.listdir(tmp_path) == []


# --- imports ----------------------------------------------------------------------------------

HEAVY = ("numpy", "torch", "zarr", "pandas", "matplotlib", "PyQt5", "pyqtgraph", "OpenGL", "av")


def test_the_command_and_its_help_import_nothing_heavy() -> None:
    command = "import accweight_viewer.command"

    assert loaded_by(command, running(["view", "--help"]), among=HEAVY) == ["", ""]


@needs_screen
def test_samples_that_cannot_be_read_are_one_line_of_an_error(
    view_here: View, analysis: Path, tmp_path: Path
) -> None:
    (tmp_path / "data.npz").write_text("no archive")

    missing = view_here(analysis, "--data", tmp_path / "none.npz", "--screenshot", "a.png")
    damaged = view_here(analysis, "--data", tmp_path / "data.npz", "--screenshot", "a.png")

    for answer, told in ((missing, "there is no such file"), (damaged, "not an .npz of NumPy")):
        assert answer.returncode == 1
        assert told in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
