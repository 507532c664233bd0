"""Questions to an analysis: tables, exact values, scales, and errors that list what there is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from thorough import up_to

import accweight_core as aw
from accweight_core.analysis import rows
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.summary import Per
from accweight_core.errors import MismatchError, SourceError, StoreError, UnknownNameError
from accweight_core.metrics.table import METRICS
from accweight_core.schema import Role, Run

Stored = Callable[..., Run]

WALKS = {
    "conv1.weight": oracle.series((8, 3, 5, 5), steps=4),
    "conv1.bias": oracle.series((8,), steps=4),
    "fc.weight": oracle.series((30, 600), steps=4, seed=1),
    "norm.weight": oracle.series((30,), steps=4, seed=2),
    "empty.weight": oracle.series((0, 5), steps=4),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four safetensors checkpoints, steps 0, 5, 10 and 15."""
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for index in range(4):
        weights = {name: states[index] for name, states in WALKS.items()}
        save_file(weights, checkpoints / f"step_{5 * index}.safetensors")
    return checkpoints


@pytest.fixture
def analysis(folder: Path) -> Analysis:
    return aw.analyze(aw.open_run(folder), threads=1)


@pytest.fixture
def opened(folder: Path, tmp_path: Path) -> Analysis:
    aw.analyze(aw.open_run(folder), tmp_path / "run.accw", threads=2)
    return aw.open_analysis(tmp_path / "run.accw")


# --- tables


def test_the_table_has_every_layer_step_and_metric(analysis: Analysis) -> None:
    table = analysis.table()

    assert list(table.columns) == ["layer", "kind", "elements", "step", *METRICS]
    assert table["layer"].tolist() == ["conv1"] * 4 + ["fc"] * 4
    assert table["step"].tolist() == [0, 5, 10, 15] * 2
    assert table["elements"].tolist() == [600] * 4 + [18000] * 4
    expected = np.concatenate(
        [oracle.metrics(WALKS[f"{n}.weight"])["mean"] for n in ("conv1", "fc")]
    )
    np.testing.assert_allclose(table["mean"], expected, rtol=1e-6)


def test_the_table_of_parameters_names_parameters(analysis: Analysis) -> None:
    table = analysis.table(per="parameter")

    assert table["parameter"].unique().tolist() == ["conv1.weight", "fc.weight"]


def test_what_lies_on_disk_gives_the_tables_of_memory(analysis: Analysis, opened: Analysis) -> None:
    pd.testing.assert_frame_equal(opened.table(), analysis.table(), check_exact=True)
    pd.testing.assert_frame_equal(opened.ranking(), analysis.ranking(), check_exact=True)
    assert opened.maximum == analysis.maximum
    assert opened.layers == analysis.layers


@pytest.mark.parametrize(
    ("roles", "members"),
    [
        (["weight"], {"conv1": ["conv1.weight"], "fc": ["fc.weight"]}),
        (["bias"], {"conv1": ["conv1.bias"]}),
        (
            ["weight", "bias", "norm"],
            {
                "conv1": ["conv1.bias", "conv1.weight"],
                "norm": ["norm.weight"],
                "fc": ["fc.weight"],
            },
        ),
    ],
    ids=str,
)
def test_layers_count_the_parameters_of_the_chosen_roles(
    folder: Path, roles: list[str], members: dict[str, list[str]]
) -> None:
    analysis = aw.analyze(aw.open_run(folder), roles=roles)

    rows = {row.name: row for row in analysis.measured()}
    assert list(rows) == list(members)
    for name, names in members.items():
        expected = oracle.metrics(*(WALKS[member] for member in names))
        assert rows[name].elements == sum(WALKS[member][0].numel() for member in names)
        for metric in METRICS:
            np.testing.assert_allclose(
                rows[name].metrics[metric], expected[metric], rtol=2e-6, atol=1e-15
            )


def test_a_role_that_nobody_has_is_an_error_that_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(MismatchError, match=r"has the role embedding; roles found: .*bias, norm"):
        aw.analyze(aw.open_run(folder), roles=[Role.EMBEDDING])


def test_one_checkpoint_shows_no_change(folder: Path) -> None:
    run = aw.open_run(folder / "step_0.safetensors")

    with pytest.raises(MismatchError, match=r"needs at least two checkpoints .* found 1"):
        aw.analyze(run)


def test_the_order_of_tensors_in_files_changes_no_bit_of_a_layer() -> None:
    walks = {f"a.weight_{i}": oracle.series((7, 90), steps=3, seed=i) for i in (2, 10, 1)}
    forward = [{n: states[t] for n, states in walks.items()} for t in range(3)]
    backward = [dict(reversed(weights.items())) for weights in forward]

    tables = [aw.analyze(aw.open_run(c)).table() for c in (forward, backward)]

    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("per", ["layer", "parameter"])
def test_a_large_analysis_is_ranked_from_one_step_alone_with_the_same_numbers(
    analysis: Analysis, opened: Analysis, per: Per, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "HELD_BYTES", 0)

    for step in (5, 15):
        found = opened.ranking("l2_path", step, per=per)
        expected = analysis.ranking("l2_path", step, per=per)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert opened.scale("fc.weight", "layer") == analysis.scale("fc.weight", "layer")
    assert "values" not in vars(opened), "not all steps were read"


# --- the maximum


def test_the_maximum_is_where_the_most_moved_weight_sits(analysis: Analysis) -> None:
    paths = {name: oracle.cumulative(WALKS[name]) for name in ("conv1.weight", "fc.weight")}
    name = max(paths, key=lambda n: paths[n].max())

    found = analysis.maximum

    assert found is not None
    assert found.parameter == name
    assert found.layer == name.split(".")[0]
    assert found.index == tuple(np.unravel_index(paths[name].argmax(), paths[name].shape))
    assert found.value == pytest.approx(paths[name].max(), rel=1e-6)
    assert analysis.cumulative(found.parameter)[found.index] == found.value


def test_the_maximum_of_a_layer_of_several_parameters_is_found_in_the_right_one() -> None:
    weights = {"a.weight_1": torch.zeros(3, 4), "a.weight_2": torch.zeros(5, 6)}
    moved = {name: tensor.clone() for name, tensor in weights.items()}
    moved["a.weight_2"][4, 2] = -3.0

    found = aw.analyze(aw.open_run([weights, moved])).maximum

    assert found is not None
    assert (found.parameter, found.index, found.value) == ("a.weight_2", (4, 2), 3.0)


def test_where_nothing_moved_the_maximum_is_zero() -> None:
    analysis = aw.analyze(aw.open_run([{"a.weight": torch.ones(2, 2)}] * 3))

    assert analysis.maximum is not None
    assert analysis.maximum.value == 0
    assert (analysis.normalized("a.weight") == 0).all()
    assert analysis.table()["efficiency"].tolist() == [1, 1, 1]


# --- exact values


@pytest.mark.parametrize("name", WALKS)
@pytest.mark.parametrize("step", [0, 5, 15, None])
def test_exact_values_come_from_the_checkpoints_at_any_step(
    opened: Analysis, name: str, step: int | None
) -> None:
    expected = oracle.walk_of(WALKS[name]).path[-1 if step is None else step // 5]

    found = opened.cumulative(name, step)

    assert found.dtype == np.float64
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_exact_values_agree_with_the_numbers_of_their_step_whatever_came_later(
    tmp_path: Path,
) -> None:
    states = oracle.series((40, 50), torch.float64, steps=3)
    states[0], states[1] = states[0].float(), states[1].float()
    run = oracle.raw_run(tmp_path, [{"a.weight": state} for state in states])

    analysis = aw.analyze(run)

    for at, step in enumerate(analysis.steps):
        path = analysis.cumulative("a.weight", int(step))
        assert path.max() == analysis.measured()[0].metrics["max"][at]


def test_normalised_change_is_a_share_of_the_global_or_the_layers_maximum(
    opened: Analysis,
) -> None:
    paths = {name: oracle.walk_of(WALKS[name]).path for name in ("conv1.weight", "fc.weight")}
    top = max(path[-1].max() for path in paths.values())

    for name, path in paths.items():
        np.testing.assert_allclose(opened.normalized(name, 10), path[2] / top, rtol=1e-6)
        own = opened.normalized(name, 10, scope="layer")
        np.testing.assert_allclose(own, path[2] / path[-1].max(), rtol=1e-6)
    assert max(opened.normalized(name).max() for name in paths) == 1
    assert opened.normalized("fc.weight", scope="layer").max() == 1


def test_a_layer_that_is_not_shown_is_scaled_by_its_own_maximum(opened: Analysis) -> None:
    assert opened.normalized("norm.weight", scope="layer").max() == 1


@settings(max_examples=up_to(20))
@given(
    shape=st.lists(st.integers(0, 12), max_size=3),
    dtype=st.sampled_from(oracle.DTYPES),
    steps=st.integers(2, 4),
)
def test_cumulative_change_of_any_shape_is_that_of_the_oracle(
    shape: list[int], dtype: torch.dtype, steps: int
) -> None:
    states = oracle.series(tuple(shape), dtype, steps)
    anchor = torch.ones(2, 2)
    run = aw.open_run([{"a.weight": s, "b.weight": anchor} for s in states])

    analysis = aw.analyze(run, roles=["weight", "norm"], threads=1)

    found = analysis.cumulative("a.weight")
    assert found.shape == tuple(shape)
    np.testing.assert_allclose(found, oracle.cumulative(states), rtol=1e-6, atol=1e-6)


# --- checkpoints that are gone


def test_exact_values_need_the_checkpoints_and_rankings_do_not(
    opened: Analysis, folder: Path
) -> None:
    (folder / "step_5.safetensors").unlink()

    assert len(opened.ranking()) == 2
    with pytest.raises(SourceError, match=r"step_5.safetensors: .* step 5 is missing"):
        opened.cumulative("fc.weight")


def test_checkpoints_that_changed_since_are_not_used(opened: Analysis, folder: Path) -> None:
    changed = folder / "step_10.safetensors"
    os.utime(changed, ns=(0, 0))

    with pytest.raises(
        SourceError, match=r"step_10.safetensors: .* has changed since the analysis"
    ):
        opened.cumulative("fc.weight")


def test_exact_values_are_found_from_another_working_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    aw.analyze(aw.open_run("checkpoints"), "run.accw")
    monkeypatch.chdir("/")

    found = aw.open_analysis(tmp_path / "run.accw").cumulative("fc.weight")

    np.testing.assert_allclose(found, oracle.cumulative(WALKS["fc.weight"]), rtol=1e-6)


# --- names and steps that are not there


@pytest.mark.parametrize("name", ["nothing.weight", "fc.", ""])
def test_an_unknown_parameter_is_an_error_that_lists_those_there_are(
    analysis: Analysis, name: str
) -> None:
    with pytest.raises(UnknownNameError) as caught:
        analysis.cumulative(name)

    assert f"no parameter is called {name!r}; " in str(caught.value)
    assert "there are 5: " in str(caught.value)
    assert "conv1.weight" in str(caught.value)


@pytest.mark.parametrize("step", [-1, 4, 16])
def test_an_unknown_step_is_an_error_that_lists_those_there_are(
    analysis: Analysis, step: int
) -> None:
    for question in (
        lambda: analysis.cumulative("fc.weight", step),
        lambda: analysis.ranking(step=step),
        lambda: analysis.normalized("fc.weight", step),
    ):
        with pytest.raises(UnknownNameError, match=f"no step {step}; its steps are 0, 5, 10, 15$"):
            question()


def test_of_many_steps_only_the_first_are_listed() -> None:
    analysis = aw.analyze(aw.open_run([{"a.weight": torch.ones(2, 2)}] * 20))

    with pytest.raises(UnknownNameError, match=r"steps are 0, 1, .*, 11, \.\.\.$"):
        analysis.ranking(step=99)


def test_steps_of_a_mapping_are_its_keys_in_order() -> None:
    weights = {step: {"a.weight": torch.full((2, 2), float(step))} for step in (30, 7, 100)}

    analysis = aw.analyze(aw.open_run(weights))

    assert analysis.steps.tolist() == [7, 30, 100]
    assert analysis.table()["mean"].tolist() == [0, 23, 93]


# --- saving


def test_an_analysis_in_memory_can_be_saved_and_still_finds_its_checkpoints(
    analysis: Analysis, tmp_path: Path
) -> None:
    saved = analysis.save(tmp_path / "saved.accw")

    pd.testing.assert_frame_equal(saved.table(), analysis.table(), check_exact=True)
    expected = analysis.cumulative("fc.weight", 10)
    assert aw.open_analysis(tmp_path / "saved.accw").cumulative("fc.weight", 10).tobytes() == (
        expected.tobytes()
    )


def test_weights_in_memory_are_not_looked_for_on_disk(tmp_path: Path) -> None:
    weights = [{"a.weight": torch.full((2, 2), float(v))} for v in range(3)]
    aw.analyze(aw.open_run(weights), tmp_path / "run.accw")

    opened = aw.open_analysis(tmp_path / "run.accw")

    assert opened.ranking()["mean"].tolist() == [2]
    with pytest.raises(SourceError, match=r"memory:0: .* is missing"):
        opened.cumulative("a.weight")


def test_saving_where_nothing_can_be_written_is_a_clear_error(
    analysis: Analysis, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(StoreError, match=r"saved.accw"):
        analysis.save(tmp_path / "file" / "saved.accw")


def test_layers_without_any_element_are_not_ranked() -> None:
    weights = {"a.weight": torch.ones(2, 2), "e.weight": torch.ones(0, 2)}

    analysis = aw.analyze(aw.open_run([weights, weights]))

    assert analysis.ranking()["layer"].tolist() == ["a"]
    assert analysis.cumulative("e.weight").shape == (0, 2)


def test_a_run_of_nothing_but_empty_parameters_has_no_maximum() -> None:
    analysis = aw.analyze(aw.open_run([{"e.weight": torch.ones(0, 2)}] * 2))

    assert analysis.maximum is None
    assert analysis.ranking().empty
    assert analysis.table().empty
    assert analysis.scale("e.weight") == 0
    assert not math.isinf(analysis.scale("e.weight", "layer"))
