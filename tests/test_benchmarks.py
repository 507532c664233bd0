"""The benchmarks at a size that measures nothing: they check values and tell all they promise."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import accweight_core as aw

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

IN_THIS_PROCESS = ("against_numpy", "formats", "disk", "growth", "steps", "budget", "probes")
"""Benchmarks called here, where nothing has to be imported again."""

IN_PROCESSES = ("memory",)

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Return what imports a module of the benchmarks."""
    from importlib import import_module

    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield import_module
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if Path(origin).parent == BENCHMARKS:
            del sys.modules[name]


@pytest.fixture(scope="module")
def out(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the suite has written, one benchmark in a process of its own."""
    folder = tmp_path_factory.mktemp("out")
    code = load("suite").main(
        ["--size", "smoke", "--only", *IN_PROCESSES,
         "--out", str(folder), "--scratch", str(tmp_path_factory.mktemp("scratch"))]
    )  # fmt: skip
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def results(load: Load, out: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the suite stores when every benchmark has run."""
    found: dict[str, Any] = json.loads((out / "smoke.json").read_text())
    scratch = str(tmp_path_factory.mktemp("scratch"))
    for name in IN_THIS_PROCESS:
        load(name).main(["--size", "smoke", "--out", str(out), "--scratch", scratch])
        stored = json.loads((out / f"{name}.json").read_text())
        found["benchmarks"][name] = {"title": name, "seconds": 0.0, **stored}
    return found


def rows(results: dict[str, Any], name: str, table: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = results["benchmarks"][name]["tables"][table]["rows"]
    return found


def test_the_suite_stores_facts_of_the_machine_and_of_the_disk(results: dict[str, Any]) -> None:
    machine = results["machine"]

    assert machine["cores"] >= 1
    assert machine["disk_write_gigabytes_per_s"] > 0
    assert machine["processor"]
    assert machine["libraries"]["numpy"] == np.__version__


def test_scripts_raw_reads_and_analyses_are_compared_in_every_round(
    results: dict[str, Any],
) -> None:
    found = rows(results, "against_numpy")

    assert {row["way"] for row in found} == {
        "NumPy script: mean, max",
        "torch script: mean, max",
        "accweight: every metric",
        "accweight: and pictures",
        "raw read",
    }
    assert all(row["seconds"] > 0 and row["ns"] > 0 for row in found)
    assert all(row["of_raw"] == 1 for row in found if row["way"] == "raw read")
    ours = next(row for row in found if row["way"] == "accweight: every metric")
    assert ours["process_seconds"] > ours["seconds"]
    assert ours["megabytes"] > 0


def test_every_format_is_held_against_the_raw_read_of_its_files(results: dict[str, Any]) -> None:
    found = rows(results, "formats")

    formats = {row["format"] for row in found}
    assert {".pt zip", ".pt legacy", "safetensors", "ONNX external", ".weights.h5"} <= formats
    half, whole = (
        next(row for row in found if row["format"] == name) for name in ("bfloat16", "safetensors")
    )
    ratio = (half["rate"] * half["seconds"]) / (whole["rate"] * whole["seconds"])
    assert 0.49 < ratio < 0.52, "half of the bytes, and a header"


def test_growth_has_a_table_per_axis(results: dict[str, Any]) -> None:
    points = [[row["point"] for row in rows(results, "growth", axis)] for axis in range(3)]

    assert points == [[2, 20], [2, 4], [1e4, 1e5]]


def test_a_step_is_measured_by_how_many_there_are(results: dict[str, Any]) -> None:
    found = rows(results, "steps")

    assert [row["point"] for row in found] == [3, 5]
    assert [row["segments"] for row in found] == [3, 5]
    tracked = rows(results, "steps", 1)
    assert [row["segments"] for row in tracked] == [4, 6]  # the first of it is one step alone
    assert found[0]["ratio"] == tracked[0]["ratio"] == 1


def test_a_disk_that_was_not_cold_is_told(results: dict[str, Any]) -> None:
    """Whether a system forgets files when asked is its own affair; that it did not must be said."""
    if not results["benchmarks"]["disk"]["tables"]:
        pytest.skip("this system cannot take files out of memory")
    found = rows(results, "disk")
    notes = results["benchmarks"]["disk"]["notes"]

    assert found[0]["of_sequential"] == 1
    assert all(0 <= row["stayed"] <= 1 for row in found)
    told = any("stayed in the page cache" in note for note in notes)
    assert told == (max(row["stayed"] for row in found) > 0.05)


def test_the_parts_of_the_budget_add_up(results: dict[str, Any]) -> None:
    budget = {row["item"]: row["ns"] for row in rows(results, "budget")}

    parts = list(budget.values())[:5]
    assert sum(parts) == pytest.approx(budget["all of it, with pictures"], rel=1e-9)


def test_goals_say_whether_they_are_met(results: dict[str, Any]) -> None:
    found = results["benchmarks"]
    goals = [goal for benchmark in found.values() for goal in benchmark["goals"]]

    asked = {name for name, benchmark in found.items() if benchmark["goals"]}
    assert {"against_numpy", "formats", "growth", "memory"} <= asked
    for goal in goals:
        reached = goal["value"] - goal["bound"]
        assert goal["met"] == (reached >= 0 if goal["at_least"] else reached <= 0)


def test_results_are_drawn(load: Load, results: dict[str, Any], tmp_path: Path) -> None:
    image, drawing = load("picture").draw(results, tmp_path / "smoke")

    pixels = load("matplotlib.image").imread(image)
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels[::5, ::5].reshape(-1, pixels.shape[2]), axis=0)) > 50
    root = ElementTree.parse(drawing).getroot()
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 100


def test_the_suite_draws_what_it_has_measured(out: Path) -> None:
    assert (out / "smoke.png").stat().st_size > 10_000
    assert (out / "smoke.svg").stat().st_size > 10_000


def test_figures_go_between_the_markers_of_a_readme(load: Load, results: dict[str, Any]) -> None:
    text = "before\n<!-- figures: growth -->\nold\n<!-- end -->\nafter\n"

    once = load("readme").refreshed(text, results)

    assert once.startswith("before\n<!-- figures: growth -->\n\n*by tensors")
    assert once.endswith("<!-- end -->\nafter\n")
    assert "old" not in once
    assert load("readme").refreshed(once, results) == once


def test_every_marker_of_the_readme_has_figures(load: Load, results: dict[str, Any]) -> None:
    readme = load("readme")
    text = readme.README.read_text()

    refreshed = readme.refreshed(text, results)

    names = [name for _, name, _ in readme.MARKED.findall(text)]
    assert {"machine", "goals", *IN_PROCESSES, *IN_THIS_PROCESS} == set(names)
    for part in refreshed.split("<!-- figures: ")[1:]:
        assert len(part.split("<!-- end -->")[0].splitlines()) > 2


@pytest.mark.parametrize("name", ["formats", "disk", "growth", "budget"])
def test_a_wrong_value_is_an_error(
    load: Load, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, benchmark = load("runs"), load(name)
    right = runs.Pool.expected

    def wrong(self: Any, parameter: str, shape: Sequence[int]) -> tuple[float, float]:
        mean, largest = right(self, parameter, shape)
        return mean * (1 + 1e-6), largest

    monkeypatch.setattr(runs.Pool, "expected", wrong)

    with pytest.raises(runs.WrongValueError, match="mean and maximum"):
        benchmark.main(["--size", "smoke", "--out", str(tmp_path), "--scratch", str(tmp_path)])


def test_steps_that_give_another_analysis_than_one_go_are_an_error(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, analyze = load("runs"), aw.analyze

    def with_one_less(run: Any, *out: Any, **options: Any) -> aw.Analysis:
        return analyze(run[:-1] if "overwrite" in options else run, *out, **options)

    monkeypatch.setattr(aw, "analyze", with_one_less)

    with pytest.raises(runs.WrongValueError, match="differ from all in one go"):
        load("steps").main(["--size", "smoke", "--out", str(tmp_path), "--scratch", str(tmp_path)])


def test_formats_that_differ_by_a_bit_are_an_error(load: Load) -> None:
    runs = load("runs")
    pool, shapes = runs.Pool(2), {"fc.weight": (3, 4)}
    mean, largest = pool.expected("fc.weight", (3, 4))
    results = {
        ("safetensors", 1): [{"values": {"fc.weight": [mean, largest]}}],
        (".pt zip", 1): [{"values": {"fc.weight": [np.nextafter(mean, 1), largest]}}],
    }

    with pytest.raises(runs.WrongValueError, match=r"\.pt zip, 1 thread: other bits"):
        load("formats").check(results, pool, shapes)


def test_a_benchmark_that_fails_fails_the_suite(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = load("suite")
    (tmp_path / "formats.py").write_text("raise SystemExit('a value is wrong')")
    monkeypatch.setattr(suite, "HERE", tmp_path)

    code = suite.main(
        ["--size", "smoke", "--only", "formats", "--out", str(tmp_path), "--scratch", str(tmp_path)]
    )

    assert code == 1
    assert "FAILED: formats.py ended with code 1" in capsys.readouterr().out
    stored = json.loads((tmp_path / "smoke.json").read_text())
    assert "failed" in stored["benchmarks"]["formats"]


@pytest.mark.parametrize("columns", [5, 1 << 18, (1 << 19) - 1, 1 << 19, (1 << 19) + 5, 1 << 20])
def test_the_expected_values_are_those_of_a_plain_sum(load: Load, columns: int) -> None:
    runs = load("runs")
    assert runs.POOL == 1 << 20
    pool, shape = runs.Pool(4), (2, columns)
    states = [pool.tensors({"fc.weight": shape}, step)["fc.weight"] for step in range(4)]

    walked = sum(np.abs(b.astype(float) - a) for a, b in pairwise(states))

    found = pool.expected("fc.weight", shape)
    np.testing.assert_allclose(found, (walked.mean(), walked.max()), rtol=1e-12)


def test_where_there_is_no_gpu_its_benchmark_says_so(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = load("gpu")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "out")])

    gpu.main()

    assert capsys.readouterr().out == "there is no CUDA device here: nothing measured\n"
    assert not (tmp_path / "out").exists()


def test_a_raw_read_reads_every_byte_once(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_reads, seen = load("raw_reads"), []
    path, content = tmp_path / "file.bin", np.random.default_rng(0).bytes(1_000_003)
    path.write_bytes(content)
    real = raw_reads.os.preadv

    def spied(descriptor: int, buffers: Any, offset: int) -> int:
        got: int = real(descriptor, buffers, offset)
        seen.append((offset, bytes(buffers[0][:got])))
        return got

    monkeypatch.setattr(raw_reads.os, "preadv", spied)
    raw_reads.read_all([str(path)], 2, 1 << 16, stretch=1 << 18)

    assert b"".join(part for _, part in sorted(seen)) == content
