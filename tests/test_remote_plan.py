"""What is read ahead of remote files is exactly what is read, however parameters are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_torch
from web_server import Served, serving

import accweight_core as aw
from accweight_core.accumulate.walk import BlockWalk, ParameterWalk
from accweight_core.io.reading import neighbours
from accweight_core.metrics.sub_blocks import SUB_BLOCK
from accweight_core.metrics.totals import Totals
from accweight_core.remote import prefetch
from accweight_core.schema import Extent, StoredTensor


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve three checkpoints of parameters of all kinds; some tensors lie on their side."""
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(0)
    shapes = {f"small.{i}.weight": (24, 16) for i in range(30)}
    shapes |= {f"small.{i}.bias": (24,) for i in range(30)}
    shapes |= {"wide.weight": (40, 9000), "tall.weight": (9000, 40), "conv.weight": (64, 32, 3, 3)}
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    state |= {"turned.weight": torch.randn(700, 900).T, "turned_conv.weight": torch.randn(8, 3, 64)}
    state["turned_conv.weight"] = state["turned_conv.weight"].permute(2, 1, 0)
    for epoch in range(3):
        moved = {name: value + epoch * torch.randn(1) for name, value in state.items()}
        write_torch(folder / f"epoch_{epoch}.pt", moved)
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[prefetch.Span], list[prefetch.Span]]]:
    """Return what is said beforehand, and what is read, of each plan that is made."""
    found: list[tuple[list[prefetch.Span], list[prefetch.Span]]] = []
    begin, read, check = (
        prefetch.ReadAhead.__init__,
        prefetch.ReadAhead.read,
        prefetch.ReadAhead.check,
    )

    def begun(self: prefetch.ReadAhead, spans: list[prefetch.Span], *options: int | None) -> None:
        found.append((list(spans), []))
        self.noted = found[-1][1]  # type: ignore[attr-defined]
        begin(self, spans, *options)

    def noted(self: prefetch.ReadAhead, path: str, offset: int, out: memoryview) -> None:
        self.noted.append((path, offset, offset + len(out)))  # type: ignore[attr-defined]
        read(self, path, offset, out)

    def checked(self: prefetch.ReadAhead) -> None:
        assert not self._held_bytes, "all that was fetched has been used as often as was said"
        check(self)

    monkeypatch.setattr(prefetch.ReadAhead, "__init__", begun)
    monkeypatch.setattr(prefetch.ReadAhead, "read", noted)
    monkeypatch.setattr(prefetch.ReadAhead, "check", checked)
    return found


@pytest.mark.parametrize("block_elements", [1 << 12, 1 << 14, 1 << 18])
@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "with pictures"])
def test_what_is_said_beforehand_is_what_is_read_in_its_order(
    served: Served,
    plans: list[tuple[list[prefetch.Span], list[prefetch.Span]]],
    tmp_path: Path,
    stored: bool,
    block_elements: int,
) -> None:
    run = aw.open_run(f"{served.url}/run/")
    plans.clear()
    out = tmp_path / "far.accw" if stored else None

    far = aw.analyze(run, out, threads=1, block_elements=block_elements)

    assert len(plans) == 1
    assert plans[0][0] == plans[0][1]
    near = aw.analyze(aw.open_run(served.folder / "run"), block_elements=block_elements)
    assert np.array_equal(far.values, near.values)


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "with pictures"])
def test_every_byte_is_fetched_once_in_few_requests(
    served: Served, tmp_path: Path, stored: bool
) -> None:
    size = sum(file.stat().st_size for file in (served.folder / "run").iterdir())
    run = aw.open_run(f"{served.url}/run/")
    served.forget()

    aw.analyze(run, tmp_path / "far.accw" if stored else None, threads=2, block_elements=1 << 14)

    assert served.sent_bytes < 1.02 * size
    assert len(served.requests) <= 12


def test_exact_values_of_tensors_on_their_side_are_read_as_said(
    served: Served, plans: list[tuple[list[prefetch.Span], list[prefetch.Span]]]
) -> None:
    far = aw.analyze(aw.open_run(f"{served.url}/run/"))
    near = aw.analyze(aw.open_run(served.folder / "run"))
    plans.clear()

    for name in ("turned.weight", "turned_conv.weight", "wide.weight", "small.7.bias"):
        assert np.array_equal(far.cumulative(name), near.cumulative(name))
    trace = far.trace("turned.weight", (899, 3))

    assert np.array_equal(trace.cumulative, near.trace("turned.weight", (899, 3)).cumulative)
    assert len(plans) == 5
    assert all(said == read for said, read in plans)


@dataclass(frozen=True)
class Half:
    """The left or right half of every row of a matrix."""

    stretches: tuple[tuple[int, int], ...]


@pytest.mark.parametrize("memory", ["64", "1"], ids=["that fits", "that does not fit"])
def test_blocks_of_many_stretches_are_read_as_said(
    served: Served,
    plans: list[tuple[list[prefetch.Span], list[prefetch.Span]]],
    monkeypatch: pytest.MonkeyPatch,
    memory: str,
) -> None:
    monkeypatch.setenv("ACCWEIGHT_REMOTE_MEMORY", memory)
    weights, half = torch.randn(16, 2 * SUB_BLOCK), SUB_BLOCK
    (served.folder / "broad").mkdir()
    for epoch in range(3):
        write_torch(served.folder / "broad" / f"{epoch}.pt", {"a.weight": weights + epoch})
    starts = [range(first, weights.numel(), 2 * half) for first in (0, half)]
    blocks = [Half(tuple((start, start + half) for start in run)) for run in starts]

    def walked(source: str | Path) -> Totals:
        run, found = aw.open_run(source), []
        tensors = [checkpoint.tensors["a.weight"] for checkpoint in run.checkpoints]
        plans.clear()
        served.forget()
        walk = BlockWalk(run.checkpoints, threads=1)
        walk.run([ParameterWalk("a.weight", tensors, iter(blocks), done=found.append)])
        return found[0]

    far = walked(f"{served.url}/broad/")

    said, read = plans[0]
    assert said == read
    assert len(read) == 2 * 3 * 16
    assert served.sent_bytes < (1.02 if memory == "64" else 1.5) * 3 * weights.nbytes
    assert len(served.requests) <= (3 if memory == "64" else len(read))
    assert np.array_equal(far.values, walked(served.folder / "broad").values)


def test_small_tensors_are_read_at_once_as_far_as_they_follow_each_other() -> None:
    def tensor(path: str, offset: int, **described: Any) -> StoredTensor:
        return StoredTensor(
            "w", Extent(path, offset, **{"dtype": "float32", **described}, shape=(2,))
        )

    tensors = [
        tensor("a", 0),
        tensor("a", 8),
        tensor("a", 16, dtype="bfloat16"),
        tensor("a", 20, dtype="bfloat16"),
        tensor("a", 24, dtype="bfloat16", big_endian=True),
        tensor("b", 28, dtype="bfloat16", big_endian=True),
        tensor("b", 0),
        tensor("b", 4),
    ]

    read = [(tensors.index(first), start, stop) for first, start, stop in neighbours(tensors)]

    assert read == [(0, 0, 4), (2, 0, 4), (4, 0, 2), (5, 0, 2), (6, 0, 2), (7, 0, 2)]
