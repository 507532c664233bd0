"""What importing costs: help and stored analyses are quick, files and arrays need no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import oracle
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

import accweight_core as aw

HEAVY = ("torch", "numpy", "pandas", "zarr", "onnx", "onnx_ir", "scipy", "matplotlib", "sklearn",
         "safetensors", "dask", "distributed", "PyQt5", "pyqtgraph", "OpenGL")  # fmt: skip


BLOCKER = """
import sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Blocker())

from importlib.metadata import Distribution, PackageNotFoundError

def from_name(name, found=Distribution.from_name):
    if name in BLOCKED:
        raise PackageNotFoundError(name)
    return found(name)

Distribution.from_name = from_name
"""


def run_python(program: str, without: tuple[str, ...] = ()) -> str:
    """Run a program where some packages are not installed and return what it prints."""
    program = f"BLOCKED = {without!r}\n{BLOCKER}\n{program}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(*parts: str, among: tuple[str, ...], without: tuple[str, ...] = ()) -> list[str]:
    """Run parts of a program and return which packages are imported after each of them."""
    tell = f"print('loaded:', *sorted(set({among!r}) & set(sys.modules)))"
    printed = run_python("\n".join(["import sys", *(f"{p}\n{tell}" for p in parts)]), without)
    return [
        line.removeprefix("loaded:").strip()
        for line in printed.splitlines()
        if line.startswith("loaded:")
    ]


def running(arguments: list[str]) -> str:
    """Return the program of a command."""
    return f"from accweight_core.cli.app import run\nassert run({arguments!r}) == 0"


def test_importing_the_package_and_help_import_nothing_heavy() -> None:
    asked = ["--help"], ["--version"], ["analyze", "--help"]

    loaded = loaded_by("import accweight_core", *map(running, asked), among=HEAVY)

    assert loaded == [""] * 4


NOT_FOR_READING = (
    "torch", "zarr", "pandas", "scipy", "numba", "matplotlib", "onnx", "sklearn", "PyQt5",
)  # fmt: skip

READING = {
    "numbers": "print(*(row.metrics['mean'][-1] for row in analysis.measured()))",
    "a ranking": "from accweight_core.analysis.ranking import ranking\n"
    "ranking(analysis.measured(), 'max', 1)",
    "what is finished": "assert all(analysis.finished()) and analysis.maximum",
    "a picture": "assert analysis.store.picture(0, 0, 'mean', slice(None)).max() > 0",
    "a window": "assert analysis.store.picture_array(1, 0)[:, 8:72, :64].shape == (3, 64, 64)",
    "pooled levels": "assert analysis.store.picture_array(1, 2, 'max')[2].max() > 0",
    "a layout": "assert analysis.layout('conv.weight').element(0, 0) == (0, 0, 0, 0)",
    "errors": (
        "from accweight_core.errors import AccweightError\n"
        "try: analysis.store.picture_array(1, 9)\n"
        "except AccweightError: pass"
    ),
}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored analysis of three checkpoints."""
    folder = tmp_path_factory.mktemp("analysed")
    walks = {
        "conv.weight": oracle.series((6, 2, 3, 3), steps=3),
        "fc.weight": oracle.series((200, 170), steps=3),
    }
    states = [{name: states[t] for name, states in walks.items()} for t in range(3)]
    aw.analyze(oracle.raw_run(folder, states), folder / "run.accw")
    return folder / "run.accw"


def test_a_stored_analysis_is_read_with_numpy_alone(analysed: Path) -> None:
    opening = f"import accweight_core\nanalysis = accweight_core.open_analysis({str(analysed)!r})\n"

    loaded = loaded_by(*(opening + what for what in READING.values()), among=NOT_FOR_READING)

    assert dict(zip(READING, loaded, strict=True)) == dict.fromkeys(READING, "")


def test_ranking_a_stored_analysis_is_quick_too(analysed: Path) -> None:
    commands = ["rank", str(analysed)], ["rank", str(analysed), "--json"]

    assert loaded_by(*map(running, commands), among=NOT_FOR_READING) == ["", ""]


FORMS = ("pt", "safetensors", "npz", "onnx")


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of three small checkpoints in each form."""
    folders = {form: tmp_path_factory.mktemp(form) for form in FORMS}
    shapes = {"conv.weight": (8, 3, 5, 5), "conv.bias": (8,), "fc.weight": (10, 300)}
    for step in range(3):
        chance = np.random.default_rng(step)
        weights = {n: chance.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
        for form, folder in folders.items():
            write(weights, folder / f"epoch_{step}.{form}")
    return folders


def write(weights: dict[str, npt.NDArray[np.float32]], path: Path) -> None:
    """Write a checkpoint in the form that its ending says."""
    match path.suffix:
        case ".npz":
            np.savez(path, **weights)  # type: ignore[arg-type]
        case ".safetensors":
            save_file(weights, path)
        case ".onnx":
            named = [numpy_helper.from_array(value, name) for name, value in weights.items()]
            x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [10, 300]) for n in "xy")
            node = helper.make_node("Add", ["x", "fc.weight"], ["y"])
            graph = helper.make_graph([node], "net", [x], [y], initializer=named)
            onnx.save(helper.make_model(graph), path)
        case _:
            torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, path)


HEAVY_FOR_FILES = "torch", "numba", "llvmlite", "scipy", "zarr", "matplotlib", "sklearn"


def test_runs_are_read_without_torch_and_small_ones_without_a_compiler(
    small_runs: dict[str, Path], tmp_path: Path
) -> None:
    small, larger = [], ["from accweight_core.jit import tiers\ntiers.FREE_WORK = 1000"]
    for form, folder in small_runs.items():
        out, table = str(tmp_path / f"{form}.accw"), str(tmp_path / f"{form}.csv")
        commands = (
            ["inspect", str(folder)],
            ["analyze", str(folder), "-o", out, "--keep-state"],
            ["rank", out],
            ["export", out, "--to", "csv", "-o", table],
        )
        exact_values = (
            "import accweight_core as aw\n"
            f"analysis = aw.analyze(aw.open_run({str(folder)!r}), {out + '2'!r})\n"
            "analysis.cumulative('fc.weight'), analysis.trace('fc.weight', (1, 2))"
        )
        small += [*map(running, commands), exact_values]
        larger.append(f"aw.analyze(aw.open_run({str(folder)!r}))")

    *before, after = loaded_by(*small, "\n".join(larger), among=HEAVY_FOR_FILES)

    assert before == [""] * len(small)
    assert "numba" in after.split()
    assert "torch" not in after.split()


def test_two_analyses_are_compared_without_torch(analysed: Path) -> None:
    command = ["compare", str(analysed), str(analysed)]

    assert loaded_by(running(command), among=("torch", "numba")) == [""]


ENGINE = """
from concurrent.futures import ThreadPoolExecutor
import accweight_core as aw
from accweight_core.jobs.engines import driver, worker
from accweight_core.store import header

def versions_with_torch():
    return {{**header.versions(), "torch": "2.99"}}

assert "torch" not in header.versions()
{changed}
with ThreadPoolExecutor(2) as pool:
    analysis = aw.analyze(aw.open_run({folder!r}), {out!r}, executor=pool)
print(len(analysis.steps))
"""


def test_files_are_worked_on_where_torch_is_not_installed(
    small_runs: dict[str, Path], tmp_path: Path
) -> None:
    parts = []
    for form, folder in small_runs.items():
        out, table = str(tmp_path / f"{form}.accw"), str(tmp_path / f"{form}.csv")
        commands = (
            ["inspect", str(folder), "--json"],
            ["analyze", str(folder), "-o", out, "--keep-state"],
            ["rank", out, "--by", "rotation"],
            ["compare", out, out],
            ["export", out, "--to", "csv", "-o", table],
        )
        parts += [*map(running, commands)]
        parts.append(ENGINE.format(folder=str(folder), out=out + "2", changed=""))

    printed = run_python("\n".join(parts), without=("torch",))

    assert "fc" in printed
    assert printed.splitlines().count("3") == len(FORMS)  # steps, by workers without torch
    for form in FORMS:
        assert "\nfc," in (tmp_path / f"{form}.csv").read_text()
        document = json.loads((tmp_path / f"{form}.accw" / "zarr.json").read_text())
        versions = document["attributes"]["accweight"]["versions"]
        assert set(versions) == {"accweight", "numpy", "python"}


@pytest.mark.parametrize("side", ["driver", "worker"])
def test_one_side_may_have_a_torch_that_the_other_has_not(
    small_runs: dict[str, Path], tmp_path: Path, side: str
) -> None:
    folder, changed = str(small_runs["npz"]), f"{side}.versions = versions_with_torch"
    program = ENGINE.format(folder=folder, out=str(tmp_path / "a.accw"), changed=changed)

    assert run_python(program, without=("torch",)).strip() == "3"


ASKED_OF_TORCH = {
    "aw.ChangeTracker": "tracking a model while it trains",
    "aw.kernels.measure_step": "kernels.measure_step",
    "aw.kernels.Scratch": "kernels.Scratch",
}


def test_what_is_done_to_tensors_says_which_extra_brings_torch() -> None:
    program = "import accweight_core as aw\n" + "".join(
        f"try: {name}\n"
        "except aw.AccweightError as error: print(type(error).__name__, error, sep=': ')\n"
        for name in ASKED_OF_TORCH
    )

    printed = run_python(program, without=("torch",))

    assert printed.splitlines() == [
        f"MissingLibraryError: {what} needs torch, which is not installed; "
        "install it with: pip install 'accweight[live]'"
        for what in ASKED_OF_TORCH.values()
    ]


def test_the_plain_kernels_need_numpy_alone_for_arrays() -> None:
    program = (
        "import numpy as np\n"
        "from accweight_core.kernels import accumulate_, normalised, step_change\n"
        "before, after = np.zeros(3), np.array([0.5, -1.0, 0.0])\n"
        "total = accumulate_(np.ones(3), before, after)\n"
        "print(step_change(before, after).tolist(), normalised(total, 2.0).tolist())"
    )

    printed = run_python(program, without=("torch", *OTHER_DEPENDENCIES))

    assert printed.strip() == "[0.5, 1.0, 0.0] [0.75, 1.0, 0.5]"


OTHER_DEPENDENCIES = (
    "accweight_adapters", "accweight_viewer", "click", "matplotlib", "ml_dtypes", "onnx",
    "onnx_ir", "pandas", "pyarrow", "rich", "safetensors", "scipy", "sklearn", "zarr",
)  # fmt: skip


def test_the_kernels_need_numpy_and_torch_alone_for_tensors() -> None:
    program = (
        "from accweight_core import kernels\n"
        "import torch\n"
        "before, after = torch.zeros(3), torch.tensor([0.5, -1.0, 0.0])\n"
        "print(kernels.step_change(before, after).tolist())"
    )

    printed = run_python(program, without=OTHER_DEPENDENCIES)

    assert printed.strip() == "[0.5, 1.0, 0.0]"


def test_the_block_of_this_test_blocks() -> None:
    program = (
        "from importlib.metadata import version\n"
        "for ask in (__import__, version):\n"
        "    try: ask('zarr')\n"
        "    except ImportError as error: print(error)"
    )

    printed = run_python(program, without=OTHER_DEPENDENCIES)

    assert printed.splitlines() == [
        "zarr is not installed here",
        "No package metadata was found for zarr",
    ]


GROWING = """
from pathlib import Path
import numpy as np
import accweight_core as aw

folder = Path({folder!r})
for step in range(3):
    weights = {{"fc.weight": np.full((90, 70), step * step * 0.5)}}
    np.savez(folder / f"epoch_{{step}}.npz", **weights)
first = [str(folder / f"epoch_{{step}}.npz") for step in range(2)]
aw.analyze(aw.open_run(first), folder / "run.accw", keep_state=True)
aw.append(aw.open_run([*first, str(folder / "epoch_2.npz")]), folder / "run.accw")
analysis = aw.open_analysis(folder / "run.accw")
print(analysis.steps.tolist(), analysis.cumulative("fc.weight").max(), analysis.maximum.value)
assert analysis.store.picture(0, 0, "mean", 2).max() == 2.0
"""


def test_stores_are_written_opened_and_appended_to_without_zarr(tmp_path: Path) -> None:
    program = GROWING.format(folder=str(tmp_path))

    printed = run_python(program, without=("zarr", "numcodecs", "donfig"))

    assert printed.strip() == "[0, 1, 2] 2.0 2.0"


def test_core_works_without_adapters_and_viewer() -> None:
    program = (
        "import numpy as np, accweight_core as aw\n"
        "run = aw.open_run([{'w': np.zeros((2, 2))}, {'w': np.ones((2, 2))}])\n"
        "print(aw.analyze(run).ranking()['mean'].tolist())"
    )
    names = ("accweight_adapters", "accweight_viewer", "click", "rich", "onnx", "safetensors")

    printed = run_python(program, without=names)

    assert printed.strip() == "[1.0]"
