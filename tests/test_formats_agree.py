"""The same weights give the same bits, whatever file they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import FORMATS, as_arrays, states, write_run

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.summary import Per

Figures = dict[str, tuple[str, int, dict[str, bytes]]]

OTHERS = [name for name in FORMATS if name != "torch zip"]


def figures(analysis: Analysis, per: Per) -> Figures:
    """Return the bits of every metric by layer or parameter; NaN has bits, too."""
    return {
        row.name: (
            str(row.kind),
            row.elements,
            {name: series.tobytes() for name, series in row.metrics.items()},
        )
        for row in analysis.measured(per)
    }


def assert_same_figures(one: Analysis, other: Analysis) -> None:
    for per in ("layer", "parameter"):
        ours, theirs = figures(one, per), figures(other, per)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name] == theirs[name], name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("format_name", OTHERS)
def test_every_format_gives_the_bits_of_the_torch_zip(
    tmp_path: Path, format_name: str, dtype: torch.dtype
) -> None:
    series = states(dtype=dtype)
    expected = aw.analyze(aw.open_run(write_run(tmp_path / "zip", series)))

    run = aw.open_run(write_run(tmp_path / "other", series, format_name))

    assert run.reader != "torch" or run.checkpoints[0].format == "torch legacy"
    assert list(run.steps) == [0, 1, 2, 3, 4]
    assert_same_figures(aw.analyze(run), expected)


@pytest.mark.parametrize("format_name", OTHERS)
def test_formats_agree_on_parameters_of_many_blocks(tmp_path: Path, format_name: str) -> None:
    series = states(3, words=45_000)
    expected = aw.analyze(aw.open_run(write_run(tmp_path / "zip", series)))

    analysis = aw.analyze(aw.open_run(write_run(tmp_path / "other", series, format_name)))

    assert_same_figures(analysis, expected)


def test_formats_agree_on_the_roles_that_do_not_rank(tmp_path: Path) -> None:
    series, roles = states(3), ("bias", "norm", "weight")
    expected = aw.analyze(aw.open_run(write_run(tmp_path / "zip", series)), roles=roles)

    for format_name in OTHERS:
        folder = write_run(tmp_path / format_name, series, format_name)
        assert_same_figures(aw.analyze(aw.open_run(folder), roles=roles), expected)


def test_weights_in_memory_give_the_bits_of_files(tmp_path: Path) -> None:
    series = states()
    expected = aw.analyze(aw.open_run(write_run(tmp_path, series)))

    tensors = aw.analyze(aw.open_run(series))
    arrays = aw.analyze(aw.open_run([as_arrays(state) for state in series]))

    assert_same_figures(tensors, expected)
    assert_same_figures(arrays, expected)


def test_half_precision_gives_the_bits_of_the_same_values_in_single(tmp_path: Path) -> None:
    series = states(dtype=torch.bfloat16)
    widened = [
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()} for state in series
    ]

    half = aw.analyze(aw.open_run(write_run(tmp_path / "half", series)))
    single = aw.analyze(aw.open_run(write_run(tmp_path / "single", widened)))

    assert_same_figures(half, single)


def test_a_run_that_changes_its_precision_midway_is_one_run(tmp_path: Path) -> None:
    series = states(dtype=torch.bfloat16)
    mixed = [
        {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        for state, dtype in zip(
            series,
            [torch.float32, torch.bfloat16, torch.float64, torch.float32, torch.bfloat16],
            strict=True,
        )
    ]

    same = aw.analyze(aw.open_run(write_run(tmp_path / "bfloat16", series)))
    changing = aw.analyze(aw.open_run(write_run(tmp_path / "mixed", mixed)))

    np.testing.assert_allclose(
        changing.table()["mean"], same.table()["mean"], rtol=1e-6, atol=0, strict=True
    )


def test_a_changed_weight_changes_the_figures(tmp_path: Path) -> None:
    series = states(3)
    before = aw.analyze(aw.open_run(write_run(tmp_path / "before", series)))
    series[2]["fc1.weight"][3, 4] += 1e-3

    after = aw.analyze(aw.open_run(write_run(tmp_path / "after", series, "safetensors")))

    differing = {
        name
        for name, row in figures(before, "parameter").items()
        if row != figures(after, "parameter")[name]
    }
    assert differing == {"fc1.weight"}


def test_a_model_supplies_kinds_and_network_order_to_other_formats(tmp_path: Path) -> None:
    series = states(2)
    folder = write_run(tmp_path / "run", series, "safetensors")
    model = write_run(tmp_path / "model", series[:1], "onnx") / "epoch_0.onnx"

    plain = aw.open_run(folder)
    informed = aw.open_run(folder, model=model)

    assert [layer.name for layer in informed.layers] == [
        "conv1", "bn1", "conv2", "fc1", "fc2", "embed", "lstm",
    ]  # fmt: skip
    assert [layer.name for layer in plain.layers] != [layer.name for layer in informed.layers]
    assert_same_figures(aw.analyze(informed), aw.analyze(plain))


def test_a_model_of_another_network_is_an_error_that_names_both(tmp_path: Path) -> None:
    model = write_run(tmp_path / "model", states(1), "onnx") / "epoch_0.onnx"

    with pytest.raises(aw.AccweightError, match=r"none of its parameters matches one .*other\.w"):
        aw.open_run([{"other.w": torch.ones(2, 2)}] * 2, model=model)


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(aw.AccweightError, match=r"gone\.onnx: there is no such model file"):
        aw.open_run(states(2), model=tmp_path / "gone.onnx")
