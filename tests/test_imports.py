"""What importing costs: the command's help is quick, the kernels need two libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pandas", "zarr", "onnx", "onnx_ir", "scipy", "matplotlib", "sklearn",
         "safetensors", "PyQt5", "pyqtgraph", "OpenGL")  # fmt: skip


BLOCKER = """
import sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Blocker())
"""


def run_python(program: str, without: tuple[str, ...] = ()) -> str:
    """Run a program where some packages are not installed and return what it prints."""
    program = f"BLOCKED = {without!r}\n{BLOCKER}\n{program}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["analyze", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = run_python(
        "import sys\n"
        "from accweight_core.cli.app import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )

    assert loaded.splitlines()[-1].split() == ["loaded:"]


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run_python(
        f"import sys, accweight_core\nprint('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )

    assert loaded.split() == ["loaded:"]


OTHER_DEPENDENCIES = (
    "accweight_adapters", "accweight_viewer", "click", "matplotlib", "ml_dtypes", "onnx",
    "onnx_ir", "pandas", "pyarrow", "rich", "safetensors", "scipy", "sklearn", "typer", "zarr",
)  # fmt: skip


def test_the_kernels_need_numpy_and_torch_alone() -> None:
    program = (
        "from accweight_core import kernels\n"
        "import torch\n"
        "before, after = torch.zeros(3), torch.tensor([0.5, -1.0, 0.0])\n"
        "print(kernels.step_change(before, after).tolist())"
    )

    printed = run_python(program, without=OTHER_DEPENDENCIES)

    assert printed.strip() == "[0.5, 1.0, 0.0]"


def test_the_block_of_this_test_blocks() -> None:
    program = "try:\n    import zarr\nexcept ImportError as error:\n    print(error)"

    printed = run_python(program, without=OTHER_DEPENDENCIES)

    assert printed.strip() == "zarr is not installed here"


def test_core_works_without_adapters_and_viewer() -> None:
    program = (
        "import numpy as np, accweight_core as aw\n"
        "run = aw.open_run([{'w': np.zeros((2, 2))}, {'w': np.ones((2, 2))}])\n"
        "print(aw.analyze(run).ranking()['mean'].tolist())"
    )
    names = ("accweight_adapters", "accweight_viewer", "typer", "rich", "onnx", "safetensors")

    printed = run_python(program, without=names)

    assert printed.strip() == "[1.0]"
