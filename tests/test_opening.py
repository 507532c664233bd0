"""Opening a run: weights in memory, options, the public names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import small, states, write_small_run
from torch import nn

import accweight_core as aw
from accweight_core.errors import MismatchError, SourceError
from accweight_core.metrics.table import METRICS


def test_the_public_names_are_these() -> None:
    assert sorted(aw.__all__) == [
        "AccweightError",
        "Advice",
        "Alignment",
        "Analysis",
        "ChangeTracker",
        "Comparison",
        "Kind",
        "Layer",
        "Network",
        "Parameter",
        "Role",
        "Run",
        "Series",
        "advise",
        "align",
        "analyze",
        "append",
        "check",
        "compare",
        "compare_groups",
        "kernels",
        "open_analysis",
        "open_run",
        "probe",
        "probes",
        "report",
        "series_of",
        "watch",
    ]


@pytest.mark.parametrize("name", aw.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(aw, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'accweight_core' has no attribute 'analyse'"):
        aw.analyse  # type: ignore[attr-defined]  # noqa: B018


# Weights in memory


def test_a_sequence_of_mappings_counts_steps_from_0() -> None:
    run = aw.open_run([small(0), small(1), small(3)])

    assert list(run.steps) == [0, 1, 2]
    assert (run.source, run.reader) == ("memory", "memory")
    assert [c.step_source for c in run.checkpoints] == ["order given"] * 3
    assert [layer.name for layer in run.layers] == ["fc"]


def test_a_mapping_by_step_is_ordered_by_step() -> None:
    run = aw.open_run({300: small(2), 0: small(0), 20: small(1)})

    analysis = aw.analyze(run)

    assert list(analysis.steps) == [0, 20, 300]
    assert analysis.table()["mean"].tolist() == [0, 1, 2]


def test_the_arrays_of_memory_are_read_when_the_run_is_analysed() -> None:
    weights = [np.zeros((2, 2)), np.zeros((2, 2))]
    run = aw.open_run([{"w": weights[0]}, {"w": weights[1]}])

    weights[1] += 3

    assert aw.analyze(run).ranking()["mean"].tolist() == [3]


def test_lists_of_numbers_are_weights_too() -> None:
    run = aw.open_run([{"fc.weight": [[0.0, 1.0]]}, {"fc.weight": [[0.5, 1.0]]}])

    assert aw.analyze(run).ranking()["max"].tolist() == [0.5]


def test_parameters_of_a_module_that_trains_are_taken() -> None:
    module = nn.Linear(3, 2)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    with torch.no_grad():
        module.weight += 0.25

    analysis = aw.analyze(aw.open_run([before, dict(module.named_parameters())]))

    np.testing.assert_allclose(analysis.ranking()["mean"], [0.25], rtol=1e-6)


def test_one_state_dict_alone_is_an_error_that_says_what_is_wanted() -> None:
    with pytest.raises(aw.AccweightError, match=r"fc\."):
        aw.open_run(small())  # type: ignore[arg-type]


def test_weights_and_files_together_are_an_error(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["a.pt"])

    with pytest.raises((aw.AccweightError, TypeError)):
        aw.open_run([small(), str(tmp_path / "a.pt")])  # type: ignore[list-item]


@pytest.mark.parametrize("nothing", [[], {}, ()], ids=["list", "mapping", "tuple"])
def test_nothing_given_is_an_error(nothing: object) -> None:
    with pytest.raises(SourceError):
        aw.open_run(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1])
def test_one_checkpoint_shows_no_change(count: int) -> None:
    run = aw.open_run([small()] * count)

    with pytest.raises(MismatchError) as caught:
        aw.analyze(run)

    assert str(caught.value) == (
        "memory: a run needs at least two checkpoints to show change, found 1"
    )


# Options


def test_parameters_are_left_out_by_pattern(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])

    run = aw.open_run(tmp_path, skip=["*.bias"])

    assert [p.name for p in run.parameters] == ["fc.weight"]
    assert set(run.checkpoints[0].tensors) == {"fc.weight"}


def test_one_pattern_of_parameters_may_be_given_as_plain_text() -> None:
    run = aw.open_run([small(0), small(1)], skip="fc.b*")

    assert [p.name for p in run.parameters] == ["fc.weight"]


def test_paths_may_be_text_or_path(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])

    runs = [aw.open_run(source) for source in (tmp_path, str(tmp_path), [tmp_path / "epoch_1.pt"])]

    assert [len(run.checkpoints) for run in runs] == [2, 2, 1]


def test_a_run_remembers_what_was_typed(tmp_path: Path) -> None:
    names = [f"epoch_{n}.pt" for n in range(5)]
    write_small_run(tmp_path, names)

    several = aw.open_run([tmp_path / name for name in names])

    assert aw.open_run(tmp_path).source == str(tmp_path)
    assert several.source == ", ".join(str(tmp_path / name) for name in names[:3]) + ", ..."


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1000000,1000],"data_offsets":[0,4000000000]}}'
    for number in (1, 2):
        with (tmp_path / f"epoch_{number}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 4_000_000_000)

    run = aw.open_run(tmp_path)

    assert run.parameters[0].elements == 10**9


def test_the_size_and_time_of_a_checkpoint_are_those_of_all_its_files(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])

    checkpoint = aw.open_run(tmp_path).checkpoints[0]

    state = (tmp_path / "epoch_1.pt").stat()
    assert (checkpoint.size_bytes, checkpoint.changed_ns) == (state.st_size, state.st_mtime_ns)


# What comes of it


def test_a_table_has_a_row_per_layer_and_step_with_every_metric() -> None:
    analysis = aw.analyze(aw.open_run(states(3)))

    table, by_parameter = analysis.table(), analysis.table("parameter")

    assert list(table.columns) == ["layer", "kind", "elements", "step", *METRICS]
    assert list(by_parameter.columns) == ["parameter", "kind", "elements", "step", *METRICS]
    assert len(table) == 3 * 6
    assert table["step"].tolist() == [0, 1, 2] * 6
    assert len(by_parameter) == 3 * 7


def test_roles_that_there_are_not_everywhere_are_an_error() -> None:
    series = [{"fc.weight": np.ones((2, 2)) * n, "bn.running_mean": np.zeros(3)} for n in range(3)]
    missing = [dict(state) for state in series]
    del missing[1]["bn.running_mean"]

    with pytest.raises(MismatchError, match=r"bn\.running_mean"):
        aw.analyze(aw.open_run(missing), roles=["weight", "buffer"])


def test_buffers_of_two_shapes_are_an_error_when_they_are_measured() -> None:
    series = [{"fc.weight": np.ones((2, 2)) * n, "bn.running_mean": np.zeros(3)} for n in range(3)]
    series[1]["bn.running_mean"] = np.zeros(5)

    with pytest.raises(MismatchError, match=r"bn\.running_mean"):
        aw.analyze(aw.open_run(series), roles=["weight", "buffer"])


def test_live_weights_that_were_not_copied_are_noticed() -> None:
    model = torch.nn.Linear(3, 3)
    live = [model.state_dict(), model.state_dict()]
    copied = [{name: value.clone() for name, value in state.items()} for state in live]

    notes = [aw.open_run(weights).notes for weights in (live, copied)]

    assert "steps 0 and 1 share their memory" in notes[0][0]
    assert notes[1] == ()
