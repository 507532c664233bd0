"""Gram matrices that are observed in a walk: the bits of the probe alone, in every way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_safetensors
from click.testing import CliRunner

import accweight_core as aw
from accweight_core.accumulate import grams
from accweight_core.accumulate.cutting import Block, blocks_of
from accweight_core.accumulate.grams import Grams
from accweight_core.cli.app import application
from accweight_core.jit import tiers
from accweight_core.probes import walking
from accweight_core.testing import values_of

Array = np.ndarray[Any, np.dtype[Any]]

SHAPES = {
    "wide.weight": (3, 20_000),  # sub-blocks are parts of a row
    "conv.weight": (40, 30, 5, 5),
    "a.weight": (7, 9), "b.weight": (7, 9), "a.bias": (7,),  # walked together, as a pack
    "scale": (),
}  # fmt: skip
DTYPES = {"conv.weight": torch.bfloat16, "a.weight": torch.float64, "b.weight": torch.float16}


def written(folder: Path, steps: int, *, plain: bool = True, odd: bool = False) -> Path:
    """Write a random walk: as safetensors, or compressed, which is read as a whole."""
    chance, state = np.random.default_rng(0), {n: np.zeros(s) for n, s in SHAPES.items()}
    folder.mkdir(parents=True)
    for step in range(steps):
        state = {n: v + chance.standard_normal(v.shape) * 0.1 for n, v in state.items()}
        if odd and step == 2:
            state["conv.weight"][3, 5] = np.nan
            state["a.bias"][1] = np.inf
        if plain:
            kept = {
                n: torch.tensor(v, dtype=DTYPES.get(n, torch.float32)) for n, v in state.items()
            }
            write_safetensors(folder / f"step_{step}.safetensors", kept)
        else:
            np.savez_compressed(folder / f"step_{step}.npz",
                                **{n: v.astype("f4") for n, v in state.items()})  # fmt: skip
    return folder


def apart(tmp_path: Path, run: Path) -> Array:
    """Return the inner products by the probe alone, which reads the weights itself."""
    aw.analyze(aw.open_run(run), tmp_path / "apart.accw", picture_budget_bytes=0)
    found: Array = aw.probe(tmp_path / "apart.accw", probes="trajectory")["trajectory"].array(
        "gram"
    )
    return found


@pytest.mark.parametrize("steps", [3, 40])
@pytest.mark.parametrize("kind", ["plain", "odd", "compressed"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_walk_gives_the_bits_of_the_probe_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, kind: str, compiled: bool
) -> None:
    monkeypatch.setattr(tiers, "FREE_WORK", -1 if compiled else 1 << 60)
    run = written(tmp_path / "run", steps, plain=kind != "compressed", odd=kind == "odd")
    alone = apart(tmp_path, run)

    monkeypatch.setattr(walking, "_gram", None)  # nothing is read twice
    ways: list[dict[str, Any]] = [
        {"threads": 1, "picture_budget_bytes": 0},
        {"threads": 3, "block_elements": 16384, "keep_state": True},
        {"threads": 2, "picture_budget_bytes": 4000},  # pooled
    ]
    for number, how in enumerate(ways):
        seen, path = Grams(steps), tmp_path / f"{number}.accw"
        analysis = aw.analyze(aw.open_run(run), path, observer=seen, **how)
        result = aw.probe(analysis, probes="trajectory", grams=seen)["trajectory"]
        np.testing.assert_array_equal(result.array("gram"), alone)


def test_inner_products_are_those_of_the_formula(tmp_path: Path) -> None:
    run = aw.open_run(written(tmp_path / "run", 5, odd=True))

    found = aw.probe(run, probes="trajectory", out=tmp_path / "run.accw")["trajectory"]

    for name, gram in zip(found.labels("parameter"), found.array("gram"), strict=True):
        tensors = [checkpoint.tensors[name] for checkpoint in run.checkpoints]
        weights = np.stack([values_of(tensor).reshape(-1) for tensor in tensors])
        moved = weights.astype(np.float64)[:, np.isfinite(weights).all(axis=0)]
        moved = moved - moved[0]
        np.testing.assert_allclose(gram, moved @ moved.T, rtol=1e-12, atol=1e-12)


def test_a_run_that_is_not_analysed_yet_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written(tmp_path / "run", 3)
    monkeypatch.setattr(walking, "_gram", None)

    found = aw.probe(run, probes="trajectory", out=tmp_path / "run.accw")

    assert found["trajectory"].array("displacement")[-1] > 0


def test_what_was_not_observed_is_read(tmp_path: Path) -> None:
    run = written(tmp_path / "run", 3)
    alone = apart(tmp_path, run)
    seen, path = Grams(3), tmp_path / "run.accw"
    aw.analyze(aw.open_run(run), path, picture_budget_bytes=0)

    again = aw.analyze(aw.open_run(run), path, picture_budget_bytes=0, observer=seen)  # is there
    found = aw.probe(again, probes="trajectory", grams=seen)["trajectory"]

    np.testing.assert_array_equal(found.array("gram"), alone)
    assert seen.found("conv.weight", 30_000) is None


def test_memory_is_bounded_by_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Grams(7).block_elements * 7 <= grams.HELD_WEIGHTS
    assert Grams(100_000).block_elements == 16384
    assert Grams(100_000).of_block("w", (1 << 14,), Block(0, 1 << 14)) is None
    assert Grams(4).of_block("w", (1 << 14,), Block(0, 1 << 14)) is not None


def test_blocks_may_come_in_any_order() -> None:
    shape, chance = (9, 16384), np.random.default_rng(0)
    weights = chance.standard_normal((4, 9 * 16384)).astype(np.float32)
    found = []
    for order in (1, -1):
        seen = Grams(4)
        for block in list(blocks_of(shape, 16384))[::order]:
            seen.take("w", shape, block, weights[:, block.start : block.stop])
        found.append(seen.found("w", weights.shape[1]))

    np.testing.assert_array_equal(*found)


def test_analyze_takes_probes_of_weights(tmp_path: Path) -> None:
    run, out = written(tmp_path / "run", 3), tmp_path / "run.accw"
    words = ["analyze", str(run), "-o", str(out), "--probe"]

    found = CliRunner().invoke(application(), [*words, "trajectory:components=2", "--json"])
    refused = CliRunner().invoke(application(), [*words, "evaluate"])

    assert found.exit_code == 0, found.output
    assert '"name": "trajectory"' in found.stdout
    assert aw.open_analysis(out).probes["trajectory"].array("variance").shape == (2,)
    assert refused.exit_code == 2
    assert "probe 'evaluate' runs the network, which needs --model and --data" in refused.output
