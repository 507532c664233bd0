"""Killed, really, at any moment and again and again: the same command ends with the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from thorough import THOROUGH

TENSORS, SMALL, CHECKPOINTS = 20, 40, 6
MILLIONS = 4 if THOROUGH else 1
BUDGET = MILLIONS * 6 << 20

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

DRIVER = """
import json, os, random, shutil, signal, sys, time, traceback
import accweight_core as aw
from accweight_core.store import files as plain
from accweight_core.jit import fused
from accweight_core.runs import opening
from accweight_core.pictures import packing as packs
from accweight_core.jobs import pipeline
from accweight_core.store import analysis_store as store
from accweight_core.accumulate import walk
from accweight_adapters import safetensors_reader
packs.PACK_TEXELS = 2000  # several packs
source, target, budget, trials = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])

def analysed(folder, die_in_write=None):
    # A child for every attempt: everything is imported, nothing has run.
    os.makedirs(folder, exist_ok=True)
    child = os.fork()
    if child:
        return child
    try:
        if die_in_write is not None:
            rename, write, writes = os.replace, plain.write_new, []
            def count(name):
                writes.append(name)
                if len(writes) == die_in_write or str(name).endswith(str(die_in_write)):
                    os.kill(os.getpid(), signal.SIGKILL)
            def dying(draft, name):
                count(name)
                return rename(draft, name)
            def torn(path, content):
                write(path, memoryview(content).cast("B")[: len(content) // 2])
                count(path)
                return write(path, content)
            os.replace, plain.write_new = dying, torn
        aw.analyze(
            aw.open_run(source), folder + "/run.accw", threads=3, picture_budget_bytes=budget
        )
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(3)

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def killed(folder, kind, kills, chance, most):
    # Returns the exit codes of attempts, of which so many were killed and the last was not.
    codes, late = [], 0
    while codes.count(-9) < kills:
        began = time.monotonic()
        if kind == "time":
            child = analysed(folder)
            time.sleep(chance.uniform(0.02, most[kind]))
            os.kill(child, signal.SIGKILL)
        else:
            child = analysed(folder, chance.randint(1, most[kind]) if kind == "write" else kind)
        codes.append(ended(child))
        late += codes[-1] == 0
        if late > 20:
            break
        if codes[-1] == 0:  # too late: it had finished
            most["time"] = min(most["time"], time.monotonic() - began)
            shutil.rmtree(folder)
            codes = []
        elif codes[-1] != -9:
            break
    return [*codes, ended(analysed(folder))]

began = time.monotonic()
report = {"undisturbed": [ended(analysed(target + "/undisturbed"))]}
files = sum(len(names) for _, _, names in os.walk(target))
most = {"time": time.monotonic() - began, "write": files // 2}
for name, (kind, kills, seed) in trials.items():
    report[name] = killed(target + "/" + name, kind, kills, random.Random(seed), most)
print(json.dumps(report))
"""

TRIALS = {
    "once": ("time", 1, 1),
    "three times": ("time", 3, 2),
    "in a write": ("write", 1, 4),
    "in three writes": ("write", 3, 5),
    "in the last write": ("run.accw/zarr.json", 1, 6),
    "in the pictures of a pack": ("packed/000002/c.0.0", 1, 7),
    "in what a pack says of them": ("packed/000003/zarr.json", 1, 8),
}
"""By name: whether it is killed after a time of chance, or between writing a file, by chance or
by name, and giving it its name; how often on the same output; and the seed."""


@pytest.fixture
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six checkpoints of millions of weights in twenty tensors of several shapes, and scales."""
    folder = tmp_path_factory.mktemp("checkpoints")
    chance = np.random.default_rng(3)
    elements = MILLIONS * 1_000_000 // TENSORS
    shapes = [
        (elements // 400, 400),
        (elements // 1152, 128, 3, 3),
        (elements,),
        (2, elements // 2),
    ]
    weights = {
        f"layer{i}.{'weight' if i % 4 != 2 else 'bias'}": chance.standard_normal(
            shapes[i % 4], np.float32
        )
        for i in range(TENSORS)
    }
    weights |= {f"scale{i}.bias": chance.standard_normal(300, np.float32) for i in range(SMALL)}
    for step in range(CHECKPOINTS):
        save_file(weights, folder / f"step_{step}.safetensors")
        for index, name in enumerate(weights):
            weights[name] = weights[name] + np.float32(0.01 * (index + step))
    return folder


def tree_of(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes, and every folder."""
    return {
        str(entry.relative_to(folder)): entry.read_bytes() if entry.is_file() else b""
        for entry in folder.rglob("*")
    }


def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    checkpoints: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, str(checkpoints), str(tmp_path), str(BUDGET)]

    shown = subprocess.run(
        [*command, json.dumps(TRIALS)], capture_output=True, text=True, timeout=200
    )

    assert shown.returncode == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert report.pop("undisturbed") == [0], shown.stderr
    expected = tree_of(tmp_path / "undisturbed" / "run.accw")
    for name, (_, kills, _) in TRIALS.items():
        assert report[name] == [-9] * kills + [0], (name, shown.stderr)
        tree = tree_of(tmp_path / name / "run.accw")
        assert sorted(tree) == sorted(expected), name
        assert [file for file in tree if tree[file] != expected[file]] == [], name
        assert os.listdir(tmp_path / name) == ["run.accw"]  # no draft, no lock beside it
