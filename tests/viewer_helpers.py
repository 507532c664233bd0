"""Small stored analyses for tests of the viewer, and sessions that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import states
from torch import Tensor

import accweight_core as aw
from accweight_core.pictures import packing as packs
from accweight_core.schema import Run
from accweight_core.store.analysis_store import Store
from accweight_viewer.model.plates import Plate
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import Settings
from accweight_viewer.model.texels import texel_value


def run_of(
    folder: Path,
    series: Sequence[Mapping[str, Tensor]] | None = None,
    *,
    steps: Sequence[int] | None = None,
    measures: Mapping[str, Sequence[float]] | None = None,
) -> Run:
    """Write a torch checkpoint per state, measures beside the weights, and open them."""
    series = states() if series is None else series
    folder.mkdir(parents=True, exist_ok=True)
    for at, (step, state) in enumerate(zip(steps or range(len(series)), series, strict=True)):
        beside = {name: values[at] for name, values in (measures or {}).items()}
        torch.save({"state_dict": dict(state), **beside}, folder / f"step_{step}.pt")
    return aw.open_run(folder)


def stored(folder: Path, name: str = "run", *described: Any, **options: Any) -> Path:
    """Return the analysis of a run, stored as NAME.accw; see `run_of`."""
    out = folder / f"{name}.accw"
    aw.analyze(run_of(folder / name, *described, **options), out)
    return out


def stopped(run: Run, out: Path, after: int) -> Path:
    """Return an analysis of which only the first parameters are finished."""
    finish, done = Store.finish_parameters, []

    def failing(self: Store, members: Sequence[int], totals: Any) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        finish(self, members, totals)
        done.append(members)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "PACK_TEXELS", 0)  # one parameter in each
        patch.setattr(Store, "finish_parameters", failing)
        with pytest.raises(KeyboardInterrupt):
            aw.analyze(run, out)
    return out


def session_of(*paths: Path, **settings: Any) -> Session:
    """Return a session on stored analyses."""
    return Session(paths, Settings(**settings))


def stored_value(run: ShownRun, plate: Plate, position: int, row: int, col: int) -> float:
    """Return the cumulative change of one texel of the whole picture, NaN for a gap."""
    return texel_value(run, plate, position, row, col, "layer").value


def walks(
    names: Sequence[str], count: int, *, size: int = 4, seed: int = 0
) -> list[dict[str, Tensor]]:
    """Return linear layers that take random steps, the later ones the larger steps."""
    generator = torch.Generator().manual_seed(seed)
    state = {f"{name}.weight": torch.zeros(size, size) for name in names}
    series = [dict(state)]
    for _ in range(count - 1):
        for place, name in enumerate(state, start=1):
            state[name] = state[name] + place * torch.rand(size, size, generator=generator)
        series.append(dict(state))
    return series
