"""Ranking of attention heads: the pieces of every head, measured from the checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_safetensors
from click.testing import CliRunner

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.heads import Piece, heads_of
from accweight_core.cli.app import application
from accweight_core.errors import AccweightError, MismatchError, SourceError
from accweight_core.schema import (
    Axis,
    Extent,
    HiddenValues,
    Kind,
    Parameter,
    Part,
    Role,
    Split,
    StoredTensor,
)

GROUPED = {
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 16,
}
ATTENTION = "model.layers.0.self_attn"
SHAPES = {
    f"{ATTENTION}.q_proj.weight": (16, 16),
    f"{ATTENTION}.q_proj.bias": (16,),
    f"{ATTENTION}.k_proj.weight": (8, 16),
    f"{ATTENTION}.o_proj.weight": (16, 16),
    "model.layers.0.mlp.up_proj.weight": (32, 16),
}

State = dict[str, torch.Tensor]


@pytest.fixture
def states() -> list[State]:
    gen = torch.Generator().manual_seed(3)
    state = {name: torch.randn(shape, generator=gen) for name, shape in SHAPES.items()}
    found = [state]
    for _ in range(3):
        found.append({n: v + 0.1 * torch.randn(v.shape, generator=gen) for n, v in state.items()})
    return found


@pytest.fixture
def folder(tmp_path: Path, states: list[State]) -> Path:
    """Write a run of one block with four heads, of which two share keys."""
    for step, state in enumerate(states):
        home = tmp_path / "run" / f"checkpoint-{step}"
        home.mkdir(parents=True)
        write_safetensors(home / "model.safetensors", state)
        (home / "config.json").write_text(json.dumps(GROUPED))
    return tmp_path / "run"


@pytest.fixture
def analysis(folder: Path, tmp_path: Path) -> Analysis:
    return aw.analyze(aw.open_run(folder), tmp_path / "run.accw")


def path_lengths(states: list[State], name: str, piece: tuple[slice, ...]) -> float:
    """Return the mean path length of a piece by definition."""
    cut = [state[name][piece].double() for state in states]
    return float(sum((b - a).abs() for a, b in pairwise(cut)).mean())


def test_every_head_is_measured_as_its_weights_are(analysis: Analysis, states: list[State]) -> None:
    found = {row.name: row for row in analysis.measured("head")}

    assert list(found) == [
        *(f"{ATTENTION}.q_proj q{n}" for n in range(4)),
        *(f"{ATTENTION}.k_proj k{n}" for n in range(2)),
        *(f"{ATTENTION}.o_proj o{n}" for n in range(4)),
    ]
    for name, piece in {
        f"{ATTENTION}.q_proj q2": (slice(8, 12),),
        f"{ATTENTION}.k_proj k1": (slice(4, 8),),
        f"{ATTENTION}.o_proj o3": (slice(None), slice(12, 16)),
    }.items():
        weight = f"{name.partition(' ')[0]}.weight"
        expected = path_lengths(states, weight, piece)
        assert found[name].metrics["mean"][-1] == pytest.approx(expected, rel=1e-6)
        assert found[name].elements == 64


def test_heads_add_up_to_their_layer(analysis: Analysis) -> None:
    layers = {row.name: row for row in analysis.measured("layer")}

    heads = [row for row in analysis.measured("head") if " o" in row.name]

    whole = layers[f"{ATTENTION}.o_proj"].totals
    total = sum(row.totals.column("path_sum") for row in heads)
    np.testing.assert_allclose(total, whole.column("path_sum"), rtol=1e-12)
    tops = [row.metrics["max"][-1] for row in heads]
    assert max(tops) == layers[f"{ATTENTION}.o_proj"].metrics["max"][-1]


def test_a_head_has_its_part_of_the_bias_where_biases_count(
    analysis: Analysis, states: list[State]
) -> None:
    rows = {row.name: row for row in analysis.measured("head", ["weight", "bias"])}

    row = rows[f"{ATTENTION}.q_proj q1"]

    assert row.elements == 4 * 16 + 4
    bias = path_lengths(states, f"{ATTENTION}.q_proj.bias", (slice(4, 8),))
    weight = path_lengths(states, f"{ATTENTION}.q_proj.weight", (slice(4, 8),))
    assert row.metrics["mean"][-1] == pytest.approx((4 * bias + 64 * weight) / 68, rel=1e-6)


def test_a_run_in_memory_and_tables_know_heads(folder: Path) -> None:
    analysis = aw.analyze(aw.open_run(folder))

    ranking, table = analysis.ranking(per="head"), analysis.table("head")

    assert list(ranking["rank"]) == list(range(1, 11))
    assert set(ranking["head"]) == set(table["head"])
    assert len(table) == 10 * 4


def test_the_head_that_moves_most_is_first(tmp_path: Path, states: list[State]) -> None:
    for step, state in enumerate(states):
        state[f"{ATTENTION}.o_proj.weight"][:, 4:8] += 5 * step
        home = tmp_path / f"checkpoint-{step}"
        home.mkdir()
        write_safetensors(home / "model.safetensors", state)
        (home / "config.json").write_text(json.dumps(GROUPED))

    analysis = aw.analyze(aw.open_run(tmp_path))

    assert analysis.ranking(per="head")["head"][0] == f"{ATTENTION}.o_proj o1"


def test_an_analysis_that_knew_no_heads_finds_them_in_its_checkpoints(
    folder: Path, tmp_path: Path
) -> None:
    for config in folder.glob("*/config.json"):
        config.rename(config.with_suffix(".away"))
    aw.analyze(aw.open_run(folder), tmp_path / "old.accw")
    for config in folder.glob("*/config.away"):
        config.rename(config.with_suffix(".json"))

    rows = aw.open_analysis(tmp_path / "old.accw").measured("head")

    assert len(rows) == 10


def test_without_heads_the_ranking_says_where_they_come_from(tmp_path: Path) -> None:
    run = aw.open_run([{"fc.weight": np.ones((2, 2))}, {"fc.weight": np.zeros((2, 2))}])

    with pytest.raises(MismatchError, match="no attention heads are known; they are taken from"):
        aw.analyze(run).measured("head")


def test_without_checkpoints_the_ranking_says_which_is_missing(
    analysis: Analysis, folder: Path
) -> None:
    (folder / "checkpoint-2" / "model.safetensors").unlink()

    with pytest.raises(SourceError, match=r"the checkpoint of step 2 is missing"):
        aw.open_analysis(Path(str(analysis.path))).measured("head")


def test_a_comparison_of_heads_is_refused(analysis: Analysis) -> None:
    with pytest.raises(AccweightError, match="per must be one of layer, parameter"):
        aw.compare(analysis, analysis, per="head")


@pytest.mark.parametrize("json_too", [False, True])
def test_the_command_ranks_heads(analysis: Analysis, json_too: bool) -> None:
    words = ["rank", str(analysis.path), "--per", "head", "--top", "2", *["--json"] * json_too]

    result = CliRunner().invoke(application(), words)

    assert result.exit_code == 0, result.output
    if json_too:
        document: dict[str, Any] = json.loads(result.stdout)
        assert document["rows"] == 10
        assert [row["rank"] for row in document["ranking"]] == [1, 2]
        assert document["ranking"][0]["head"].startswith(ATTENTION)
    else:
        assert "heads by relative at step 3 (the first 2 of 10)" in result.stdout


# ---------------------------------------------------------------- pieces


def parameter(shape: tuple[int, ...], axes: tuple[Axis, ...], split: Split) -> Parameter:
    return Parameter(
        "a.weight", "a", Kind.ATTENTION, Role.WEIGHT, shape, "float32", axes, (), split
    )


def pieces(found: Mapping[str, tuple[Piece, ...]]) -> list[tuple[int, int, int]]:
    return [(p.axis, p.first, p.end) for group in found.values() for p in group]


IN, OUT = Axis.INPUT, Axis.OUTPUT


@pytest.mark.parametrize(
    ("axes", "split", "expected"),
    [
        ((IN, OUT, OUT), Split(OUT, (Part("q", 8, 2),)), [(1, 0, 1), (1, 1, 2)]),
        ((OUT, IN, IN), Split(IN, (Part("o", 8, 2),)), [(1, 0, 1), (1, 1, 2)]),
        ((OUT, OUT, IN), Split(OUT, (Part("q", 12, 4),)), []),
    ],
    ids=["an axis of heads", "heads of the inputs", "heads across indices"],
)
def test_heads_with_an_axis_of_their_own_are_cut_there(
    axes: tuple[Axis, ...], split: Split, expected: list[tuple[int, int, int]]
) -> None:
    found = heads_of([parameter((6, 2, 4), axes, split)], [Role.WEIGHT])

    assert pieces(found) == expected


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("strides", [None, (1, 6)])
def test_the_piece_of_a_stored_tensor_is_read_from_where_it_lies(
    tmp_path: Path, axis: int, strides: tuple[int, int] | None
) -> None:
    values = np.arange(48, dtype=np.float32)
    (tmp_path / "raw").write_bytes(b"head" + values.tobytes())
    whole = values.reshape(6, 8) if strides is None else values.reshape(8, 6).T
    extent = Extent(str(tmp_path / "raw"), 4, "float32", (6, 8), strides)
    piece = Piece(parameter((6, 8), (Axis.OUTPUT, Axis.INPUT), Split(Axis.OUTPUT, ())), axis, 2, 4)

    found = piece.of(StoredTensor("a.weight", extent))

    expected = whole[2:4] if axis == 0 else whole[:, 2:4]
    assert found.shape == expected.shape
    assert isinstance(found.values, Extent)
    steps = [s * 4 for s in found.values.strides or (8, 1)]
    view = np.lib.stride_tricks.as_strided(
        values[(found.values.offset - 4) // 4 :], found.shape, steps
    )
    np.testing.assert_array_equal(view, expected)


def test_the_piece_of_hidden_values_is_cut_when_they_are_loaded() -> None:
    values = np.arange(12.0).reshape(3, 4)
    tensor = StoredTensor("a.weight", HiddenValues(lambda: values, "float64", (3, 4)))
    split = Split(Axis.INPUT, (Part("o", 4, 2),))

    piece = Piece(parameter((3, 4), (Axis.OUTPUT, Axis.INPUT), split), 1, 2, 4).of(tensor)

    assert isinstance(piece.values, HiddenValues)
    assert piece.name == "a.weight[:, 2:4]"
    np.testing.assert_array_equal(piece.values.load(), values[:, 2:])
