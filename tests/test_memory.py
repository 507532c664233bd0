"""What parameters that are walked as a whole take: within a stated multiple, and a budget."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import threading
import warnings
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gguf
import h5py
import numpy as np
import numpy.typing as npt
import onnx
import oracle
import pytest
import torch
import torch.distributed.checkpoint as dcp
from flax.serialization import msgpack_serialize
from onnx import helper, numpy_helper
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorStorageMetadata,
)
from twins import quiet

import accweight_core as aw
from accweight_core.accumulate import stepwise
from accweight_core.errors import EngineError, MemoryLimitError
from accweight_core.io.memory import WHOLE_TIMES, MemoryBudget, free_bytes, memory_told
from accweight_core.schema import HiddenValues, Run, StoredTensor

Array = npt.NDArray[Any]
SHAPE = (1024, 4096)
SIZE = 4 * SHAPE[0] * SHAPE[1]


def npz(folder: Path, step: int, weights: Array) -> None:
    np.savez_compressed(folder / f"step_{step}.npz", **{"a.weight": weights})


def hdf5(folder: Path, step: int, weights: Array) -> None:
    with h5py.File(folder / f"step_{step}.weights.h5", "w") as file:
        group = file.create_group("layers/dense/vars")
        group.create_dataset(
            "0", data=weights, chunks=(256, 2048), compression="gzip", compression_opts=1
        )


def quantised(folder: Path, step: int, weights: Array) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(folder / f"step-{step}.gguf", "llama")
    writer.add_tensor("blk.0.ffn_up.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def int8(folder: Path, step: int, weights: Array) -> None:
    held = [
        numpy_helper.from_array(weights.astype(np.int8), "a.weight_quantized"),
        numpy_helper.from_array(np.array(0.1, np.float32), "a.weight_scale"),
        numpy_helper.from_array(np.array(0, np.int8), "a.weight_zero_point"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", [t.name for t in held], ["a.weight"]),
        helper.make_node("MatMul", ["x", "a.weight"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, None) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph), folder / f"step_{step}.onnx")


def deflated_policy(folder: Path, step: int, weights: Array) -> None:
    """Save a policy of two large tensors, of which each is read alone."""
    policy, tensor = io.BytesIO(), torch.from_numpy(weights)
    torch.save({"a.weight": tensor, "b.weight": tensor + 1}, policy)
    path = folder / f"step_{step}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("data", json.dumps({"num_timesteps": step}))
        archive.writestr("policy.pth", policy.getvalue())


def orbax(folder: Path, step: int, weights: Array) -> None:
    with quiet():
        import orbax.checkpoint as ocp

        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save((folder / str(step)).absolute(), {"dense": {"kernel": weights}})


def msgpack(folder: Path, step: int, weights: Array) -> None:
    """Save an array in four chunks, in the form that flax gives arrays beyond 1 GB."""
    pieces = np.array_split(weights.ravel(), 4)
    chunks = {str(number): piece for number, piece in enumerate(pieces)}
    shape = {str(axis): length for axis, length in enumerate(weights.shape)}
    whole = {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}
    content = {"params": {"dense": {"kernel": whole}}}
    (folder / f"step_{step}.msgpack").write_bytes(msgpack_serialize(content))


def distributed(folder: Path, step: int, weights: Array) -> None:
    """Save a tensor in two chunks, as two processes do."""
    half, tensor = weights.shape[0] // 2, torch.from_numpy(weights)
    path = folder / str(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no group of processes
        writer = dcp.FileSystemWriter(path)
        dcp.save({"0": tensor[:half], "1": tensor[half:]}, storage_writer=writer, no_dist=True)
    metadata: Metadata = pickle.loads((path / ".metadata").read_bytes())
    parts = {int(index.fqn): info for index, info in metadata.storage_data.items()}
    shape = torch.Size((half, weights.shape[1]))
    starts = [torch.Size((half * part, 0)) for part in range(2)]
    old = metadata.state_dict_metadata["0"]
    assert isinstance(old, TensorStorageMetadata)
    cut = [ChunkStorageMetadata(start, shape) for start in starts]
    whole = TensorStorageMetadata(old.properties, tensor.shape, cut)
    metadata.state_dict_metadata = {"a.weight": whole}
    metadata.storage_data = {
        MetadataIndex("a.weight", start): parts[part] for part, start in enumerate(starts)
    }
    (path / ".metadata").write_bytes(pickle.dumps(metadata))


PEAK = """
import json
import sys
from pathlib import Path
import accweight_core as aw
from accweight_core.jit import tiers

tiers.FREE_WORK = 0

def most_kb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def peak_kb(folder):
    aw.analyze(folder / "small", folder / "small.accw", threads=2)  # imports the reader
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    before = most_kb()
    aw.analyze(folder / "large", folder / "large.accw", threads=2, memory_bytes=budget)
    return most_kb() - before

budget, *folders = int(sys.argv[1]), *map(Path, sys.argv[2:])
for folder in folders:
    print(json.dumps([folder.name, peak_kb(folder)]), flush=True)
"""
"""Prints the peak of each format, one after the other in one process.

Not ru_maxrss: a process starts with that of the one which started it. Nor is it forked for each:
pages of libraries would count when they are touched again.
"""

FREED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Lets glibc give arrays back when they are freed, not keep some of those of the format before."""

FORMATS = (npz, hdf5, quantised, int8, deflated_policy, orbax, msgpack, distributed)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_hidden_values_take_at_most_the_stated_multiple_of_their_size(tmp_path: Path) -> None:
    for save in FORMATS:
        for name, shape in (("small", (256, 2048)), ("large", SHAPE)):
            folder = tmp_path / save.__name__ / name
            folder.mkdir(parents=True)
            for step in range(3):
                chance = np.random.default_rng(step)
                few = chance.integers(0, 4, (shape[0], shape[1] // 16)).astype(np.float32)
                save(folder, step, few.repeat(16, axis=1))  # quickly compressed
    # two threads and a budget for one parameter: the multiple is that of all of it
    folders = [str(tmp_path / save.__name__) for save in FORMATS]

    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(WHOLE_TIMES * SIZE), *folders],
        capture_output=True, text=True, check=True, env=os.environ | FREED_AT_ONCE,
    )  # fmt: skip

    peaks = {name: kb * 1024 / SIZE for name, kb in map(json.loads, done.stdout.splitlines())}
    assert peaks.keys() == {save.__name__ for save in FORMATS}, done.stderr
    assert {n: times for n, times in peaks.items() if not 1 < times < WHOLE_TIMES} == {}


def in_memory(steps: int = 3) -> Run:
    return aw.open_run([{"w": np.full((500, 400), step, np.float32)} for step in range(steps)])


def test_what_does_not_fit_the_budget_is_refused_before_it_is_read() -> None:
    def load() -> Array:
        raise AssertionError("it was read")

    hidden = StoredTensor("w", HiddenValues(load, "float32", (500, 400)))
    run = in_memory()
    run = replace(
        run, checkpoints=tuple(replace(c, tensors={"w": hidden}) for c in run.checkpoints)
    )

    with pytest.raises(
        MemoryLimitError, match=r"'w' cannot be read in blocks.*11.2 MB; the budget"
    ):
        aw.analyze(run, memory_bytes=11_100_000)


def test_workers_keep_to_the_budget_too(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for step in range(2):
        weights = np.full((500, 400), step, np.float32)
        np.savez_compressed(tmp_path / f"run/step_{step}.npz", **{"a.weight": weights})
    run = aw.open_run(tmp_path / "run")

    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as processes:
        with pytest.raises(MemoryLimitError, match=r"the budget is 11\.1 MB"):
            aw.analyze(run, executor=processes, memory_bytes=11_100_000)
        aw.analyze(run, executor=processes, memory_bytes=11_300_000)


def test_a_budget_for_one_is_shared_by_many() -> None:
    budget, most, taken, lock = MemoryBudget(100), 0, 0, threading.Lock()

    def take() -> None:
        nonlocal most, taken
        for _ in range(50):
            with budget.taking(40, "w"):
                with lock:
                    taken += 40
                    most = max(most, taken)
                with lock:
                    taken -= 40

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 40 <= most <= 80


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 TiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=lambda error: str(error)[:20],
)
def test_memory_that_runs_out_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(MemoryLimitError, match=r"parameter 'w': memory ran out \(.+\)"),
        memory_told("parameter 'w'"),
    ):
        raise error


def test_other_faults_are_not_blamed_on_memory() -> None:
    with pytest.raises(RuntimeError, match="odd"), memory_told("w"):
        raise RuntimeError("odd")
    with pytest.raises(EngineError), memory_told("w"):
        raise EngineError("workers were lost; were they killed, or out of memory?")


def test_what_is_free_is_less_than_what_the_machine_has_and_than_a_limit() -> None:
    program = (
        "import resource\n"
        "from accweight_core.io.memory import free_bytes\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "print(free_bytes())"
    )

    limited = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert 0 < free_bytes() < 1 << 50
    assert 0 < int(limited.stdout) < 3 << 30
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 3 << 30


def test_large_blocks_advance_in_place_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [{"w": one} for one in oracle.series((300, 70), steps=6)]
    states[2]["w"][5, 5] = float("nan")
    states[0]["w"][7, 7] = float("inf")
    run = aw.open_run(states)
    small = aw.analyze(run, tmp_path / "small.accw", keep_state=True)
    monkeypatch.setattr(stepwise, "KEPT_BYTES", 1000)
    large = aw.analyze(aw.open_run(states), tmp_path / "large.accw", keep_state=True)

    np.testing.assert_array_equal(small.values, large.values)
    for name in sorted(p.relative_to(small.path) for p in small.path.rglob("c.*")):
        assert (small.path / name).read_bytes() == (large.path / name).read_bytes(), name
