"""The limit of open files is of the process: its threads share it, and errors name it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from accweight_core.errors import reason_of
from accweight_core.io import descriptors

resource = pytest.importorskip("resource")

PROGRAM = """
import resource, sys
soft, hard, threads = map(int, sys.argv[2:5])
import accweight_core as aw
run = aw.open_run(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
analysis = aw.analyze(run, sys.argv[5], threads=threads)
print(analysis.table()["l2_path"].sum(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for step in range(70):
        chance = np.random.default_rng(step)
        weights = {f"l{n}.weight": chance.standard_normal((60, 70)) for n in range(9)}
        save_file(weights, folder / f"step_{step}.safetensors")
    return folder


def analysed(run: Path, out: Path, soft: int, hard: int, threads: int) -> tuple[float, int]:
    arguments = [str(run), str(soft), str(hard), str(threads), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    total, limit = done.stdout.split()
    return float(total), int(limit)


def test_many_threads_share_what_a_process_may_open(run: Path, tmp_path: Path) -> None:
    expected = analysed(run, tmp_path / "a.accw", 4096, 4096, 1)[0]

    assert analysed(run, tmp_path / "b.accw", 256, 256, 8) == (expected, 256)
    assert analysed(run, tmp_path / "c.accw", 40, 40, 1) == (expected, 40)


def test_the_soft_limit_is_raised_where_that_is_allowed_and_no_further_than_needed(
    run: Path, tmp_path: Path
) -> None:
    _, limit = analysed(run, tmp_path / "a.accw", 128, 4096, 8)

    assert 8 * descriptors.MOST_OPEN_FILES < limit < 700


def test_a_limit_is_blamed_and_not_the_file() -> None:
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert "ulimit -n is" in reason_of(error)
    assert reason_of(OSError(errno.ENOENT, "No such file")) == "No such file"
