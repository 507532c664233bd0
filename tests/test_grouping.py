"""One run or several: groups of checkpoints, what differs, and the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import small

import accweight_core as aw
from accweight_core.errors import MismatchError, ShapeMismatchError, UnsupportedDtypeError
from accweight_core.naming import layers_of
from accweight_core.runs.grouping import groups_of


def saved(folder: Path, *series: dict[str, torch.Tensor]) -> Path:
    for number, state in enumerate(series, start=1):
        torch.save(state, folder / f"epoch_{number}.pt")
    return folder


def two_layers(outputs: int = 3, value: float = 0.0) -> dict[str, torch.Tensor]:
    """Return two layers, the first with some number of outputs."""
    return {
        "fc1.weight": torch.full((outputs, 4), float(value)),
        "fc1.bias": torch.full((outputs,), float(value)),
        "fc2.weight": torch.full((2, 3), float(value)),
    }


OTHER = {"conv.weight": torch.ones(4, 3, 3, 3)}


def test_two_architectures_in_a_folder_are_an_error_that_lists_them(tmp_path: Path) -> None:
    saved(tmp_path, small(0), small(1), OTHER, small(2))

    with pytest.raises(MismatchError) as caught:
        aw.open_run(tmp_path)

    first, last, other = (tmp_path / f"epoch_{n}.pt" for n in (1, 4, 3))
    assert str(caught.value) == (
        f"{tmp_path}: the checkpoints hold 2 different sets of parameters, so they are not one "
        f"run: group 1: 3 checkpoints, steps 1 to 4, 2 parameters ({first} ... {last}); "
        f"group 2: 1 checkpoint, step 3, 1 parameter ({other}); only group 1 has fc.bias (3,), "
        "only group 2 has conv.weight (4, 3, 3, 3); analyse one group with group='1' "
        "(or group='largest'), leave parameters out with skip=PATTERN, or say which are the "
        "same with map=FILE (accweight inspect SOURCE --write-map FILE proposes one)"
    )


def test_many_architectures_are_not_all_listed(tmp_path: Path) -> None:
    saved(tmp_path, *({f"fc{n}.weight": torch.ones(2, 2)} for n in range(7)))

    with pytest.raises(MismatchError, match=r"hold 7 different sets .*; and 3 more groups;"):
        aw.open_run(tmp_path)


@pytest.mark.parametrize(
    ("choice", "steps"), [(1, [1, 2, 4]), ("1", [1, 2, 4]), ("largest", [1, 2, 4]), ("2", [3])]
)
def test_one_group_can_be_chosen(tmp_path: Path, choice: int | str, steps: list[int]) -> None:
    saved(tmp_path, small(0), small(1), OTHER, small(2))

    run = aw.open_run(tmp_path, group=choice)

    assert list(run.steps) == steps
    assert len(run.notes) == 1
    assert run.notes[0].startswith(f"group {2 if len(steps) > 1 else 1} left out: ")


@pytest.mark.parametrize("choice", ["3", "0", "-1", "biggest", ""])
def test_a_group_that_is_not_there_is_answered_with_those_there_are(
    tmp_path: Path, choice: str
) -> None:
    saved(tmp_path, small(0), OTHER)

    with pytest.raises(MismatchError) as caught:
        aw.open_run(tmp_path, group=choice)

    assert f"there is no group {choice}; groups: 1: 1 checkpoint, step 1" in str(caught.value)


def test_choosing_the_only_group_is_no_error(tmp_path: Path) -> None:
    run = aw.open_run(saved(tmp_path, small(0), small(1)), group="1")

    assert run.notes == ()


def test_groups_of_equal_size_are_numbered_by_their_first_step(tmp_path: Path) -> None:
    saved(tmp_path, small(0), OTHER, small(1), OTHER)

    assert list(aw.open_run(tmp_path, group=1).steps) == [1, 3]
    assert list(aw.open_run(tmp_path, group=2).steps) == [2, 4]


def test_one_reshaped_parameter_names_both_shapes_both_steps_and_the_way_out(
    tmp_path: Path,
) -> None:
    series = [{"fc.weight": torch.ones(n, 4), "b.weight": torch.ones(2, 2)} for n in (3, 3, 5)]
    saved(tmp_path, *series)

    with pytest.raises(ShapeMismatchError) as caught:
        aw.open_run(tmp_path)

    error, text = caught.value, str(caught.value)
    assert (error.parameter, error.expected, error.got) == ("fc.weight", (3, 4), (5, 4))
    for part in (
        "'fc.weight'", "(3, 4)", "(5, 4)", "step 1", "step 3", "epoch_1.pt", "epoch_3.pt",
        "skip=[", "group='largest'",
    ):  # fmt: skip
        assert part in text
    assert "\n" not in text


def test_skipping_the_reshaped_layer_leaves_one_run(tmp_path: Path) -> None:
    saved(tmp_path, two_layers(3), two_layers(3, 1), two_layers(5, 2))

    run = aw.open_run(tmp_path, skip=["fc1.*"])

    assert list(run.steps) == [1, 2, 3]
    assert aw.analyze(run).ranking()["layer"].tolist() == ["fc2"]


def test_the_pattern_that_the_error_suggests_leaves_one_run(tmp_path: Path) -> None:
    saved(tmp_path, two_layers(3), two_layers(3, 1), two_layers(5, 2))

    with pytest.raises(ShapeMismatchError) as caught:
        aw.open_run(tmp_path)

    pattern = str(caught.value).split("skip=['")[1].split("'")[0]
    assert list(aw.open_run(tmp_path, skip=[pattern]).steps) == [1, 2, 3]


def test_a_parameter_that_comes_later_makes_two_groups(tmp_path: Path) -> None:
    saved(tmp_path, small(0), small(1), {**small(2), "head.weight": torch.ones(2, 2)})

    with pytest.raises(MismatchError, match=r"only group 2 has head\.weight \(2, 2\)"):
        aw.open_run(tmp_path)


def test_buffers_may_come_and_go(tmp_path: Path) -> None:
    later = {**small(1), "bn.num_batches_tracked": torch.tensor(3), "rope.inv_freq": torch.ones(4)}

    run = aw.open_run(saved(tmp_path, small(0), later))

    assert list(run.steps) == [1, 2]
    assert aw.analyze(run).ranking()["layer"].tolist() == ["fc"]


def test_the_order_of_parameters_in_a_file_does_not_matter(tmp_path: Path) -> None:
    reordered = dict(reversed(list(small(1).items())))

    assert list(aw.open_run(saved(tmp_path, small(0), reordered)).steps) == [1, 2]


def test_what_tells_roles_apart_is_looked_at_in_every_checkpoint(tmp_path: Path) -> None:
    codes = {**small(1), "fc.weight": torch.ones(3, 4, dtype=torch.int64)}

    with pytest.raises(MismatchError, match="2 different sets of parameters"):
        aw.open_run(saved(tmp_path, small(0), small(1), codes))


def test_a_run_of_many_alike_is_one_group_with_the_layers_of_the_first(tmp_path: Path) -> None:
    run = aw.open_run(saved(tmp_path, *(small(n) for n in range(4))))

    (group,) = groups_of(run.checkpoints)

    assert group.checkpoints == run.checkpoints
    assert group.layers == run.layers == layers_of(run.checkpoints[0].tensors.values())
    assert group.signature == {("fc.weight", (3, 4)), ("fc.bias", (3,))}


def test_integer_weights_are_refused_with_the_reason_and_the_way_out(tmp_path: Path) -> None:
    codes = torch.ones(2, 2, dtype=torch.int8)
    saved(tmp_path, small(0, **{"q.weight": codes}), small(1, **{"q.weight": codes}))

    with pytest.raises(UnsupportedDtypeError) as caught:
        aw.analyze(aw.open_run(tmp_path))

    assert str(caught.value) == (
        f"{tmp_path / 'epoch_1.pt'}: parameter 'q.weight' cannot be analysed: "
        "int8 values have no known scale and zero point; leave it out with --skip 'q.weight'"
    )
    assert aw.analyze(aw.open_run(tmp_path, skip=["q.weight"])).ranking()["mean"].tolist() == [1]


def test_skipping_everything_leaves_nothing_to_measure(tmp_path: Path) -> None:
    saved(tmp_path, small(0), small(1))

    with pytest.raises(MismatchError, match="no parameter has the role weight or embedding"):
        aw.analyze(aw.open_run(tmp_path, skip=["*"]))


def test_weights_that_are_not_finite_are_counted_and_reported(tmp_path: Path) -> None:
    broken = small(1)
    broken["fc.weight"][0, :2] = torch.tensor([float("nan"), float("inf")])
    saved(tmp_path, small(0), broken, small(2))

    analysis = aw.analyze(aw.open_run(tmp_path))

    assert analysis.table()["nonfinite"].tolist() == [0, 2, 0]
    assert np.isfinite(analysis.table()["mean"]).all()
    assert analysis.header.warnings[0] == (
        "parameter 'fc.weight' holds up to 2 of 12 elements that are not finite, "
        "in 1 checkpoints from step 2; they are left out of the change"
    )


def test_strict_names_the_tensor_that_is_not_finite(tmp_path: Path) -> None:
    broken = small(1)
    broken["fc.weight"][0, 0] = float("nan")
    saved(tmp_path, small(0), broken)

    with pytest.raises(aw.AccweightError) as caught:
        aw.analyze(aw.open_run(tmp_path), strict=True)

    assert "parameter 'fc.weight' has 1 non-finite elements at step 2" in str(caught.value)
    assert str(tmp_path / "epoch_2.pt") in str(caught.value)
