"""How soon the viewer shows something, and how smoothly: measured in its real window.

    make bench-viewer                                     needs a screen; xvfb-run gives one
    xvfb-run -a .venv/bin/python benchmarks/viewer.py     networks of 0.5M, 5M and 50M texels,
                                                          and one of 300 layers and 1B weights
    ... benchmarks/viewer.py --published RUN.accw         first picture of an analysis of yours
    ... benchmarks/viewer.py --quick                      the small ones alone

The window has 1280 x 800 pixels. Every case is a process of its own. `first picture` runs from
the start of that process to a window in which nothing is missing at the level that the screen
can show. Frames are counted where Qt hands them to the screen, while time is played, dragged one
checkpoint per frame, and the camera flies; a pixel of each picture is compared with the colour
that its value must have.
Weights are made up, since the viewer never sees them: only the analysis is real.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 1280, 800
STEPS = 10
SECONDS = 4.0
OUT = Path(__file__).parent / "out" / "viewer.json"

TEXELS = {"0.5M": 256, "5M": 790, "50M": 2500}
"""Side of eight square matrices that have so many texels together."""


def main() -> None:
    """Make the analyses, measure each in a process of its own, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--published", type=Path, help="an analysis to open instead of a made-up one"
    )
    parser.add_argument("--quick", action="store_true", help="leave out 50M texels and 1B weights")
    parser.add_argument(
        "--repeat", type=int, default=3, help="processes per case, the median counts"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--still", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        sys.stdout.write(json.dumps(measured(given.measure, given.begun, still=given.still)) + "\n")
        return
    results = {}
    with tempfile.TemporaryDirectory(prefix="accweight-viewer-") as folder:
        for name, path, still in cases(Path(folder), given.published, quick=given.quick):
            runs = [in_process(path, still=still) for _ in range(given.repeat)]
            results[name] = combined(runs)
            print(f"{name:12}", *lines(results[name]), sep="  ", flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=2))


def cases(folder: Path, published: Path | None, *, quick: bool) -> Iterator[tuple[str, Path, bool]]:
    """Yield name, analysis, and whether to look at its first picture alone."""
    published_shapes = {
        "conv1.weight": (16, 1, 3, 3),
        "conv2.weight": (32, 16, 3, 3),
        "fc1.weight": (50, 1568),
        "fc2.weight": (10, 50),
    }
    yield "published", published or made_up(folder / "published.accw", published_shapes), False
    for name, side in TEXELS.items():
        if quick and side > 1000:
            continue
        shapes = {f"block.{i}.weight": (side, side) for i in range(8)}
        yield name, made_up(folder / f"{name}.accw", shapes, pictures=8 << 30), False
    if not quick:
        deep = {f"layers.{i // 6}.part{i % 6}.weight": (1826, 1826) for i in range(300)}
        yield "300 layers", made_up(folder / "deep.accw", deep, steps=4), False


def made_up(
    path: Path,
    shapes: dict[str, tuple[int, ...]],
    *,
    steps: int = STEPS,
    pictures: int | None = None,
) -> Path:
    """Analyse a walk of made-up weights; each tensor is made when it is needed."""
    import accweight_core as aw
    from accweight_core.naming import layers_of
    from accweight_core.schema import Checkpoint, HiddenValues, StoredTensor

    def tensor(name: str, step: int) -> StoredTensor:
        shape = shapes[name]
        grain = np.random.default_rng(len(name)).standard_normal(64 * 1024, dtype=np.float32)

        def load() -> np.ndarray:
            return np.resize(grain * np.float32(1 + 0.1 * step), shape)

        return StoredTensor(name, HiddenValues(load, "float32", shape))

    series = [{n: tensor(n, step) for n in shapes} for step in range(steps)]
    run = aw.Run(
        source="made up",
        reader="memory",
        checkpoints=tuple(
            Checkpoint(f"step {i}", i, "made up", "memory", tensors)
            for i, tensors in enumerate(series)
        ),
        layers=tuple(layers_of(tuple(series[0].values()))),
    )
    aw.analyze(run, out=path, picture_budget_bytes=pictures)
    return path


def in_process(path: Path, *, still: bool) -> dict[str, Any]:
    """Return what a fresh process measures."""
    command = [sys.executable, __file__, "--measure", str(path), *(["--still"] if still else [])]
    begun = ["--begun", repr(time.time())]  # what the system says of a process is off by a second
    done = subprocess.run([*command, *begun], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{path.name}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(path: Path, begun: float, *, still: bool) -> dict[str, Any]:
    """Open the viewer's window on an analysis, and measure."""
    from accweight_viewer.display import graphics
    from accweight_viewer.opening import opened_window

    window = opened_window([path], SIZE)
    spin(window, until=lambda: window.settled)
    first = time.time() - begun
    result: dict[str, Any] = {"renderer": graphics().renderer, "first picture s": first}
    check_colour(window)
    if not still:
        frames: list[float] = []
        window.scenes[0].frameSwapped.connect(lambda: frames.append(time.perf_counter()))
        for name, action in (("playing", play), ("dragging", drag), ("flying", fly)):
            spin(window, seconds=0.5)
            frames.clear()
            action(window)
            result[name] = paced(frames)
        result["parts ms"] = parts_of_a_frame(window)
    result["peak MB"] = peak_megabytes()
    window.close()
    return result


def peak_megabytes() -> float:
    """Return the most memory this process has had; the textures of software OpenGL count."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def spin(window: Any, *, seconds: float = 60.0, until: Any = None) -> None:
    """Let the window live, for some time or until something is true."""
    from pyqtgraph.Qt import QtWidgets

    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop and not (until and until()):
        QtWidgets.QApplication.processEvents()
        time.sleep(0.0003)


def play(window: Any) -> None:
    """Play the timeline, one checkpoint blending into the next."""
    window.session.change(speed=5.0, smooth=True, loop=True)
    window.session.play()
    spin(window, seconds=SECONDS)
    window.session.pause()


def drag(window: Any) -> None:
    """Show another checkpoint every sixtieth of a second, as dragging along the timeline does."""
    session = window.session
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        session.move_to((session.cursor.position + 1) % session.cursor.count)
        due = time.perf_counter() + 1 / 60
        spin(window, until=lambda due=due: time.perf_counter() >= due)


def fly(window: Any) -> None:
    """Fly towards the network and back."""
    for direction in ("forward", "back"):
        window.flight.press(direction)
        window.scenes[0].woken.emit()
        spin(window, seconds=SECONDS / 4)
        window.flight.release(direction)
    spin(window, seconds=0.2)


def parts_of_a_frame(window: Any) -> dict[str, float]:
    """Return the milliseconds that parts of a frame take while the camera flies, as medians.

    Each part ends when OpenGL has drawn it, so that together they take longer than a frame does.
    """
    from OpenGL import GL

    scene, spent = window.scenes[0], dict[str, list[float]]()

    def timed(name: str, act: Any) -> Any:
        def timing() -> None:
            begin = time.perf_counter()
            act()
            GL.glFinish()
            spent.setdefault(name, []).append(1e3 * (time.perf_counter() - begin))

        return timing

    items = {"ground": scene._ground, "plates": scene._plates, "labels": scene._labels}
    for name, item in items.items():
        item.paint = timed(name, item.paint)
    scene.paintGL = timed("scene", scene.paintGL)
    fly(window)
    found = {name: float(np.median(times)) for name, times in spent.items()}
    found["scene, other"] = found.pop("scene") - sum(found[name] for name in items)
    return found


def paced(frames: list[float]) -> dict[str, float]:
    """Return how regularly frames came."""
    gaps = np.diff(frames) * 1e3
    if not len(gaps):
        return {"frames/s": 0.0}
    return {
        "frames/s": float(1e3 / gaps.mean()),
        "median ms": float(np.median(gaps)),
        "99% ms": float(np.percentile(gaps, 99)),
        "longest ms": float(gaps.max()),
    }


def check_colour(window: Any) -> None:
    """End the process unless a texel on the screen has the colour of its value."""
    from accweight_viewer.model.picking import Pick

    scene, session = window.scenes[0], window.session
    plate = session.runs[0].plates[0]
    pick = Pick(0, plate, plate.size[0] // 2, plate.size[1] // 2)
    at = scene.point_of(pick)
    image = scene.grabFramebuffer()
    seen = image.pixelColor(int(at.x()), int(at.y())).getRgb()[:3]
    low, high = (float(f(plate_values(session, plate))) for f in (np.nanmin, np.nanmax))
    scale = session.colour_scale()
    unit = 1 / session.runs[0].scale(plate, session.settings.scope)
    entries = scale.entries(np.array([low, high]) * unit)
    first, last = (min(int(entry), 254) for entry in entries)
    between = scale.colours[first : last + 1].astype(int)  # of some maps blue rises and falls
    least, most = between.min(axis=0), between.max(axis=0)
    if not all(d - 2 <= s <= b + 2 for d, s, b in zip(least, seen, most, strict=True)):
        sys.exit(f"a texel has colour {seen}, expected between {least} and {most}")


def plate_values(session: Any, plate: Any) -> np.ndarray:
    """Return the coarsest picture of a plate as it is shown now."""
    everything = slice(None)
    at = session.run_position(0)
    values: np.ndarray = session.runs[0].values(
        plate, plate.finest, "mean", slice(at, at + 1), everything, everything
    )
    return values


def combined(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over processes; of the longest frames, the longest."""
    result: dict[str, Any] = {}
    for key, value in runs[0].items():
        if isinstance(value, dict):
            result[key] = combined([run[key] for run in runs])
        elif isinstance(value, str):
            result[key] = value
        else:
            pick = max if key == "longest ms" else np.median
            result[key] = round(float(pick([run[key] for run in runs])), 2)
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """Return a result in words."""
    words = [f"first picture {result['first picture s']:.2f} s", f"{result['peak MB']:.0f} MB"]
    for name in ("playing", "dragging", "flying"):
        pace = result.get(name, {})
        if "median ms" in pace:
            words.append(f"{name} {pace['frames/s']:.0f}/s, longest {pace['longest ms']:.0f} ms")
    return words


if __name__ == "__main__":
    main()
