"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from oracle import Weights, raw_run

from accweight_core.schema import Run

RawRun = Callable[..., Run]


@pytest.fixture
def stored(tmp_path: Path) -> RawRun:
    """Return what writes checkpoints as raw bytes and describes them as a run."""

    def store(checkpoints: Sequence[Weights], *described: object) -> Run:
        folder = tmp_path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return raw_run(folder, checkpoints, *described)

    return store


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    """Return torch's own thread setting, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
