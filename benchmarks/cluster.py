"""What a cluster costs per task, and what follows for a run of 100 checkpoints of 70 billion.

``python benchmarks/cluster.py [--layers 8] [--checkpoints 100]``

Measured here, one after the other:

* describing checkpoints of a model of 70 billion weights: real files with real headers, whose
  weights are holes in them, so that they take no room;
* the driver on a tenth of that model: cutting tasks, pickling them, folding what comes back. The
  sums are made up, for nobody has read the weights, but as many and as large as real ones;
* a task on real weights: bytes per second of one worker, size of what it hands back, chunks of
  pictures written; the same over HTTP, for the number of requests;
* the scheduler of dask with two real workers: tasks per second, bytes of results per second.

The numbers of the task are checked against those of local threads. Results go to
``benchmarks/out/cluster.json``; `docs/cluster.md` says what they mean for 1,000 workers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from remote import serving

import accweight_core as aw
from accweight_core.accumulate.cutting import pieces_of
from accweight_core.accumulate.folding import BlockSums
from accweight_core.accumulate.walk import Walk
from accweight_core.jit.step_loops import rounds_once
from accweight_core.jobs.engines import tasks
from accweight_core.jobs.engines.driver import walk_by
from accweight_core.jobs.engines.tasks import PER_WORKER, Job, Task, block_at
from accweight_core.jobs.engines.worker import ALIVE, TaskResult, finish, stores_of
from accweight_core.jobs.engines.workers import Workers
from accweight_core.jobs.walks import walk_of
from accweight_core.metrics.sub_blocks import partition
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Totals
from accweight_core.pictures.plan import chunk_of, plan_pictures, segment_steps
from accweight_core.pictures.pyramid import Pyramid
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, tiling_of
from accweight_core.schema import DEFAULT_ROLES
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import create
from accweight_core.store.header import Header

HIDDEN, FEED, HEADS, WORDS, LAYERS, SHARDS = 8192, 28672, 1024, 128_256, 80, 30
ROWS, COLUMNS = 1024, 2048
Result = dict[str, float]


def shapes_of(layers: int) -> dict[str, tuple[int, ...]]:
    """Return the parameters of a transformer as those of 70 billion weights are."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, HIDDEN)}
    for layer in range(layers):
        begin = f"model.layers.{layer}"
        for name, shape in {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (HEADS, HIDDEN),
            "self_attn.v_proj": (HEADS, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (FEED, HIDDEN),
            "mlp.up_proj": (FEED, HIDDEN),
            "mlp.down_proj": (HIDDEN, FEED),
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
        }.items():
            shapes[f"{begin}.{name}.weight"] = shape
    return {**shapes, "model.norm.weight": (HIDDEN,), "lm_head.weight": (WORDS, HIDDEN)}


def write_hollow(folder: Path, shapes: dict[str, tuple[int, ...]], checkpoints: int) -> None:
    """Write sharded safetensors whose weights are holes: headers are real, bytes are zeros."""
    names = list(shapes)
    for step in range(checkpoints):
        home = folder / f"checkpoint-{step}"
        home.mkdir(parents=True)
        places = {}
        for shard in range(SHARDS):
            file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
            header, at = {}, 0
            for name in names[shard::SHARDS]:
                end = at + 2 * int(np.prod(shapes[name]))
                header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [at, end]}
                places[name], at = file, end
            text = json.dumps(header).encode()
            with (home / file).open("wb") as out:
                out.write(len(text).to_bytes(8, "little") + text)
                out.truncate(8 + len(text) + at)
        index = {"metadata": {}, "weight_map": places}
        (home / "model.safetensors.index.json").write_text(json.dumps(index))


@contextmanager
def timed(result: Result, name: str) -> Iterator[None]:
    """Note how long something takes."""
    begin = time.perf_counter()
    yield
    result[name] = time.perf_counter() - begin


class Weighing(Executor):
    """Pickles what it is given, and hands back sums of the right number, but of no weights."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.task_bytes: list[int] = []
        self.harvest_bytes: list[int] = []
        self.read_bytes: list[int] = []
        self.pickle_s = self.own_s = 0.0

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Weigh the arguments and the answer, which is ready at once."""
        future: Future[Any] = Future()
        if fn is finish:
            future.set_result(arguments[1])
            return future
        begin = time.perf_counter()
        sent = pickle.dumps((fn, arguments))
        self.pickle_s += time.perf_counter() - begin
        harvest = made_up(arguments[0], self.store)
        content = pickle.dumps(harvest, protocol=5)
        self.task_bytes.append(len(sent))
        self.harvest_bytes.append(len(content))
        self.read_bytes.append(arguments[0].size_bytes)
        begin_load = time.perf_counter()
        future.set_result(pickle.loads(content))
        self.own_s += begin_load - begin
        return future


def made_up(task: Task, store: Store) -> TaskResult:
    """Return what a worker would hand back, with zeros for sums."""
    sums: dict[int, Any] = {}
    for slice_ in task.slices:
        steps = len(slice_.tensors)
        if slice_.cuts is None:
            elements = slice_.tensors[0].values.elements
            sums[slice_.index] = Totals(elements, np.zeros((steps, len(SUMS))))
            continue
        plan, cut = store.header.plan(slice_.index), partition(slice_.tensors[0].shape)
        stretches = tuple(s for at in slice_.cuts for s in block_at(at, plan).stretches)
        elements = [c for s in stretches for _, rows, c in pieces_of(cut, *s) for _ in range(rows)]
        values = np.zeros((steps, len(elements), len(SUMS)))
        sums[slice_.index] = BlockSums(stretches, elements, values)
    return TaskResult(sums, {}, rounds_once())


def of_driver(folder: Path, layers: int, checkpoints: int) -> tuple[Result, Result]:
    """Measure describing all of the model, and the driver on some layers of it."""
    whole: Result = {}
    with timed(whole, "write_s"):
        write_hollow(folder / "all", shapes_of(LAYERS), checkpoints)
    with timed(whole, "describe_s"):
        run = aw.open_run(folder / "all")
    header = Header.of(run, run.parameters, DEFAULT_ROLES)
    whole["parameters"] = len(header.parameters)
    whole["weights"] = sum(p.elements for p in header.parameters)
    whole["read_bytes"] = 2 * whole["weights"] * checkpoints
    with timed(whole, "plan_s"):
        plans = plan_pictures(header.layouts, checkpoints, 1 << 30)
    whole["chunk_files"] = sum(map(files_of, plans))
    whole["base_levels"] = max(plan.base for plan in plans)
    whole["header_bytes"] = len(json.dumps(header.to_json()))
    some = [p for p in run.parameters if "layers." not in p.name or layer_of(p.name) < layers]
    bases = tuple(plan.base for plan in plans if plan.layout.shape)[: len(some)]
    header = Header(
        header.source, header.reader, header.checkpoints, tuple(some), DEFAULT_ROLES, bases
    )
    store = create(folder / "some.accw", header)
    weighing = Weighing(store)
    workers = max(1, round(1000 * sum(p.elements for p in some) / whole["weights"]))
    workers = Workers("weighing", weighing, lambda: workers, print)
    walks: list[Walk] = [
        walk_of(index, [c.tensors[p.name] for c in run.checkpoints], store, None, BLOCK_ELEMENTS)
        for index, p in enumerate(some)
    ]
    driver: Result = {"workers": workers}
    with timed(driver, "driver_s"):
        walk_by(
            workers,
            walks,
            header,
            run.checkpoints,
            store=store,
            earlier=None,
            block_elements=BLOCK_ELEMENTS,
            nonfinite=None,
            progress=lambda size_bytes: None,
        )
    driver["driver_s"] -= weighing.own_s - weighing.pickle_s
    driver["tasks"] = len(weighing.task_bytes)
    driver["pickle_s"] = weighing.pickle_s
    driver["task_bytes"] = float(np.mean(weighing.task_bytes))
    driver["harvest_bytes"] = float(np.mean(weighing.harvest_bytes))
    driver["read_bytes"] = float(np.mean(weighing.read_bytes))
    driver["ms_per_parcel"] = 1000 * driver["driver_s"] / driver["tasks"]
    return whole, driver


def layer_of(name: str) -> int:
    """Return the number of the layer that a parameter belongs to."""
    return int(name.split(".")[2])


def files_of(plan: Any) -> int:
    """Return how many chunk files a picture has: of its base level, and of pooled ones."""
    if plan.is_drawn_whole:
        return 1
    chunk = chunk_of(tiling_of(plan.layout, plan.base, BLOCK_ELEMENTS), plan.steps)
    lengths = zip((plan.steps, *plan.size(plan.base)), chunk, strict=True)
    base = math.prod(-(-length // part) for length, part in lengths) * (2 if plan.base else 1)
    coarser = Pyramid(plan, plan.levels[1:]).texels
    return base + (-(-plan.steps // segment_steps(plan.steps, coarser)) if coarser else 0)


def write_solid(folder: Path, checkpoints: int) -> aw.Run:
    """Write checkpoints with one matrix of real weights, and return the run."""
    folder.mkdir()
    torch.manual_seed(0)
    weights = torch.randn(ROWS, COLUMNS)
    for step in range(checkpoints):
        weights += 0.01 * torch.randn(ROWS, COLUMNS)
        file = folder / f"step_{step:03d}.safetensors"
        safetensors.torch.save_file({"proj.weight": weights.to(torch.bfloat16)}, file)
    return aw.open_run(folder)


class Repeating(Executor):
    """Does everything three times, here: tasks may be walked again, to the same end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Do it, and note how long it takes as a rule."""
        future: Future[Any] = Future()
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            result = fn(*arguments)
            times.append(time.perf_counter() - begin)
        self.seconds.append(float(np.median(times)))
        future.set_result(result)
        return future


def of_worker(folder: Path, checkpoints: int) -> Result:
    """Measure tasks on real weights, from the disk and over HTTP."""
    run = write_solid(folder / "solid", checkpoints)
    expected, size = aw.analyze(run).values, 2 * ROWS * COLUMNS * checkpoints
    tasks.LEAST_BYTES = tasks.MOST_BYTES = size // 4
    repeating = Repeating()
    budget = 32 << 10  # in the proportion that a gigabyte has to all checkpoints of the large model
    there = aw.analyze(
        run, folder / "there.accw", executor=repeating, threads=1, picture_budget_bytes=budget
    )
    aw.analyze(run, folder / "here.accw", picture_budget_bytes=budget)
    for file in (folder / "here.accw").rglob("*"):
        twin = folder / "there.accw" / file.relative_to(folder / "here.accw")
        assert file.is_dir() or file.read_bytes() == twin.read_bytes(), file
    assert np.array_equal(there.values, expected)
    walked, finishing = repeating.seconds[:-1], repeating.seconds[-1]
    result: Result = {"bytes_per_s": size / sum(walked), "finish_s": finishing}
    for memory in (256, 4096):
        os.environ["ACCWEIGHT_REMOTE_MEMORY"] = str(memory)
        with serving(folder / "solid") as (url, traffic):
            urls = [f"{url}/step_{step:03d}.safetensors" for step in range(checkpoints)]
            remote = aw.open_run(urls)
            traffic.forget()
            out = folder / f"remote_{memory}.accw"
            values = aw.analyze(
                remote, out, executor=Once(), threads=1, picture_budget_bytes=budget
            ).values
            assert np.array_equal(values, expected)
            result[f"bytes_per_request_{memory}_MiB"] = traffic.sent_bytes / traffic.requests
    del os.environ["ACCWEIGHT_REMOTE_MEMORY"]
    return result


class Once(Executor):
    """Does everything here, when it is asked for."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Do it."""
        future: Future[Any] = Future()
        future.set_result(fn(*arguments))
        return future


@cache
def noise(size_bytes: int) -> Any:
    """Return numbers that nothing can compress, as sums are."""
    return np.random.default_rng(0).normal(size=size_bytes // 8)


def answer_of(size_bytes: int, sent: bytes) -> Any:
    """Return so many bytes: what the scheduler sees of a task is its size."""
    return noise(size_bytes)


def of_scheduler(task_bytes: int, harvest_bytes: int) -> Result:
    """Measure what dask takes for tasks and answers of a size, with workers that do nothing."""
    from distributed import Client, LocalCluster

    result: Result = {}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        executor = client.get_executor(pure=False)
        sent = os.urandom(task_bytes)
        for name, size, at_once in (("small", 1000, 200), ("real", harvest_bytes, 20)):
            rounds = []
            for _ in range(7):
                begin = time.perf_counter()
                under_way = [executor.submit(answer_of, size, sent) for _ in range(at_once)]
                assert all(future.result().nbytes == size // 8 * 8 for future in under_way)
                rounds.append((time.perf_counter() - begin) / at_once)
            result[f"{name}_ms_per_parcel"] = 1000 * float(np.median(rounds))
        result["answers_bytes_per_s"] = 1000 * harvest_bytes / result["real_ms_per_parcel"]
    return result


def of_context(folder: Path) -> Result:
    """Measure what a worker does once: reading the header of the store."""
    (folder / "some.accw" / f"token{ALIVE}").touch()
    job, result = Job("token", str(folder / "some.accw"), None, BLOCK_ELEMENTS, ()), Result()
    with timed(result, "open_store_s"):
        stores_of(job)
    with timed(result, "layouts_s"):
        assert stores_of(job)[0] is not None
        _ = stores_of(job)[0].header.layouts  # type: ignore[union-attr]
    return result


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--checkpoints", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    found: dict[str, Result] = {"assumed": {"parcels_per_worker": PER_WORKER}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["model"], found["driver"] = of_driver(folder, options.layers, options.checkpoints)
        found["context"] = of_context(folder)
        found["worker"] = of_worker(folder, options.checkpoints)
        sizes = (int(found["driver"][f"{part}_bytes"]) for part in ("task", "harvest"))
        found["scheduler"] = of_scheduler(*sizes)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cluster.json").write_text(json.dumps(found, indent=2))
    for part, values in found.items():
        print(part)
        for key, value in values.items():
            print(f"  {key:24} {value:,.4g}")


if __name__ == "__main__":
    main()
