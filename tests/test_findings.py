"""Findings: what a run shows, in sentences; and nothing of it where it does not apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_cli import accweight
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.analysis.findings import Finding, findings
from accweight_core.analysis.reading import findings_of
from accweight_core.errors import NonFiniteError

Weights = dict[str, Tensor]


def series(count: int, seed: int = 0) -> list[Weights]:
    """Return a small network over some steps, each a small random step from the last."""
    chance = torch.Generator().manual_seed(seed)
    state = {
        "fc1.weight": torch.randn(16, 8, generator=chance),
        "fc1.bias": torch.zeros(16),
        "fc2.weight": torch.randn(4, 16, generator=chance),
    }
    states = []
    for _ in range(count):
        states.append({name: value.clone() for name, value in state.items()})
        for value in state.values():
            value += 0.02 * torch.randn(value.shape, generator=chance)
    return states


def found_in(run: Any) -> dict[str, list[Finding]]:
    """Return the findings on a run, by kind."""
    found: dict[str, list[Finding]] = {}
    for finding in findings_of(aw.analyze(run))[0]:
        found.setdefault(finding.kind, []).append(finding)
    return found


def the(kind: str, run: Any) -> Finding:
    (finding,) = found_in(run)[kind]
    return finding


def test_sound_training_from_step_0_says_nothing() -> None:
    assert found_in(series(6)) == {}


# --- the reference


def test_a_run_that_begins_later_says_what_is_not_seen() -> None:
    run = {step: state for step, state in enumerate(series(3), start=1)}

    finding = the("reference", run)

    assert finding.step == 1
    assert finding.text.startswith("the reference is step 1: what moved before it is not seen")
    assert not finding.is_wrong


# --- nothing moved, stopped, identical


def test_a_run_that_never_moved_says_so_once() -> None:
    found = found_in([series(1)[0]] * 8)

    assert list(found) == ["nothing_moved"]
    (finding,) = found["nothing_moved"]
    assert finding.text == "nothing moved: every weight is bit-equal in all 8 checkpoints"
    assert finding.is_wrong
    assert finding.sure == "exact"


def test_training_that_stops_says_after_which_step() -> None:
    states = series(3)
    run = {step: states[min(step, 2)] for step in range(8)}

    found = found_in(run)

    assert list(found) == ["stopped"]
    assert found["stopped"][0].step == 2
    assert found["stopped"][0].text == (
        "training stopped at step 2: every weight is bit-equal in the 5 later checkpoints"
    )
    assert found["stopped"][0].is_wrong


def test_one_step_without_movement_at_the_end_is_no_stop() -> None:
    states = series(4)

    found = found_in([*states, states[-1]])

    assert list(found) == ["identical"]
    assert found["identical"][0].text == (
        "the checkpoints of steps 3 and 4 are identical: every weight is bit-equal"
    )
    assert not found["identical"][0].is_wrong


def test_a_single_weight_that_moves_is_movement() -> None:
    states = [series(1)[0] for _ in range(5)]
    states[0]["fc1.weight"][3, 3] = 1
    for state in states[1:]:
        state["fc1.weight"][3, 3] = float(np.nextafter(np.float32(1), np.float32(2)))

    assert "nothing_moved" not in found_in(states)


def test_checkpoints_between_others_are_identical_too() -> None:
    states = series(6)
    states[4] = states[1]

    finding = the("identical", states)

    assert finding.text.startswith("the checkpoints of steps 1 and 4 are identical")
    assert finding.sure == "exact"


def test_equal_sums_of_different_weights_are_no_copies() -> None:
    states = [{"fc.weight": torch.full((2, 2), value)} for value in (0.0, 1.0, 0.5, -1.0)]
    states[3]["fc.weight"] = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    same = found_in(states)
    states[3]["fc.weight"] = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])

    assert "identical" in same
    assert "identical" not in found_in(states)


def test_many_copies_share_a_sentence() -> None:
    states = [state for state in series(6) for _ in range(2)]

    finding = the("identical", states[:-1])

    assert "5 steps are identical to the ones before them: 1, 3, 5, 7, 9" in finding.text


# --- which layers


def test_layers_that_never_moved_are_named() -> None:
    states = series(4)
    for state in states:
        state["fc1.weight"], state["fc1.bias"] = states[0]["fc1.weight"], states[0]["fc1.bias"]

    finding = the("frozen", states)

    assert finding.layers == ("fc1",)
    assert finding.parameters == ("fc1.weight", "fc1.bias")
    assert finding.text == ("1 of 2 layers never moved, bit-equal in every checkpoint: fc1")


def test_the_few_layers_that_moved_are_named_instead() -> None:
    states = [
        {f"fc{i}.weight": torch.full((2, 2), float(step * (i == 7))) for i in range(9)}
        for step in range(3)
    ]

    finding = the("frozen", states)

    assert finding.text.startswith("only 1 of 9 layers moved: fc7; the others are bit-equal")
    assert "fc7" not in finding.layers
    assert len(finding.layers) == 8


def test_training_of_biases_alone_is_told() -> None:
    states = series(3)
    for state in states:
        state["fc1.weight"] = states[0]["fc1.weight"]

    found = found_in(states)

    assert "frozen" not in found
    assert found["partly_frozen"][0].parameters == ("fc1.weight",)


# --- buffers


def batch_normed(epochs: int, *, train: bool = True) -> list[Weights]:
    """Return a network that is not trained, though its running statistics may go on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    states = []
    for _ in range(epochs):
        states.append({name: value.clone() for name, value in net.state_dict().items()})
        net.train(train)(torch.randn(4, 3, 8, 8) + 1)
    return states


def test_running_statistics_of_a_frozen_norm_are_told() -> None:
    finding = the("buffers_moved", batch_normed(3))

    assert finding.parameters == ("1.running_mean", "1.running_var")
    assert finding.layers == ("1",)
    assert "between steps 0 and 2" in finding.text
    assert not finding.is_wrong


def test_a_frozen_norm_in_eval_mode_says_nothing_of_buffers() -> None:
    assert list(found_in(batch_normed(3, train=False))) == ["nothing_moved"]


def test_buffers_of_layers_that_move_say_nothing() -> None:
    states = batch_normed(3)
    for step, state in enumerate(states):
        state["1.weight"] += step

    assert "buffers_moved" not in found_in(states)


def test_buffers_are_found_in_the_files_of_a_stored_analysis(tmp_path: Path) -> None:
    for step, state in enumerate(batch_normed(3)):
        torch.save(state, tmp_path / f"epoch_{step}.pt")
    aw.analyze(tmp_path, tmp_path / "run.accw")

    found, _ = findings_of(aw.open_analysis(tmp_path / "run.accw"))
    (tmp_path / "epoch_0.pt").unlink()
    later, notes = findings_of(aw.open_analysis(tmp_path / "run.accw"))

    assert [f.kind for f in found] == ["nothing_moved", "buffers_moved"]
    assert [f.kind for f in later] == ["nothing_moved"]
    assert "epoch_0.pt" in notes[0]


# --- LoRA


@pytest.mark.parametrize(
    "name",
    [
        "q.lora_B.weight",
        "q.lora_B.default.weight",
        "q.lora_up.weight",
        "q.lora.up.weight",
        "q_lora.up.weight",
        "qkv_lora1.up.weight",
    ],
)
def test_a_lora_matrix_that_never_left_zero_is_wrong(name: str) -> None:
    states = [
        {"q.lora_A.weight": torch.full((2, 8), 1.0 + step), name: torch.zeros(8, 2)}
        for step in range(3)
    ]

    finding = the("lora_b_zero", states)

    assert finding.parameters == (name,)
    assert finding.is_wrong
    assert finding.text.startswith("no lora_B has ever left zero")


@pytest.mark.parametrize("zero", ["hada_w2_a", "hada_w2_b", "lokr_w1", "lokr_w2", "lokr_w2_b"])
def test_a_factor_that_never_left_zero_is_wrong(zero: str) -> None:
    family = [f"hada_w{n}_{m}" for n in (1, 2) for m in "ab"] if "hada" in zero else ["lokr_w1_a"]
    states = [
        {f"{layer}.{name}": torch.full((2, 2), 1.0 + step) for layer in "qk" for name in family}
        | {f"q.{zero}": torch.zeros(2, 2), f"k.{zero}": torch.full((2, 2), float(step))}
        for step in range(3)
    ]

    finding = the("lora_b_zero", states)

    assert finding.parameters == (f"q.{zero}",)
    assert "has never left zero in 1 of 2 adapters" in finding.text


def test_only_the_adapters_at_zero_are_named() -> None:
    states = [
        {"q.lora_B.weight": torch.zeros(8, 2), "k.lora_B.weight": torch.full((8, 2), float(step))}
        for step in range(3)
    ]

    finding = the("lora_b_zero", states)

    assert finding.parameters == ("q.lora_B.weight",)
    assert "in 1 of 2 adapters" in finding.text


# --- element types


def typed(folder: Path, *dtypes: torch.dtype, move: float = 0.0) -> Path:
    """Write the same weights in several element types, moved from the second step on."""
    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for step, dtype in enumerate(dtypes):
        moved = weights + move * step
        save_file({"layer.weight": moved.to(dtype)}, folder / f"step_{step}.safetensors")
    return folder


def test_a_change_of_the_element_type_is_told_with_its_rounding(tmp_path: Path) -> None:
    half, full = torch.bfloat16, torch.float32

    found = found_in(typed(tmp_path, half, half, full, full))

    assert found["type_change"][0].step == 2
    assert found["type_change"][0].parameters == ("layer.weight",)
    assert found["type_change"][0].text.startswith(
        "the element type changes from bfloat16 to float32 at step 2 (layer.weight): movements of "
        "up to 0.0039 of a weight there can be rounding"
    )
    assert found["nothing_moved"][0].text.startswith("nothing moved, except for the rounding")
    assert found["nothing_moved"][0].sure == "likely"


@pytest.mark.parametrize(
    ("dtypes", "move"),
    [
        ((torch.float16, torch.float32), 0.1),
        ((torch.bfloat16, torch.float32, torch.float32), 1e-5),  # also in a step without a change
    ],
)
def test_movement_beyond_rounding_is_no_standstill(
    tmp_path: Path, dtypes: tuple[torch.dtype, ...], move: float
) -> None:
    found = found_in(typed(tmp_path, *dtypes, move=move))

    assert "type_change" in found
    assert "nothing_moved" not in found


def test_a_change_of_type_is_kept_in_the_analysis_and_shown_by_inspect(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    typed(folder, torch.bfloat16, torch.float32, torch.float32)
    aw.analyze(folder, tmp_path / "run.accw")
    for file in folder.iterdir():
        file.rename(file.with_name(f"old_{file.name}"))

    stored = aw.open_analysis(tmp_path / "run.accw")

    kinds = [finding.kind for finding in findings(stored.header, stored.values)]
    assert kinds == ["nothing_moved", "type_change", "identical"]
    assert "note: the element type changes from bfloat16 to float32 at step 1" in (
        accweight("inspect", folder, piped=True).out
    )


def test_a_change_of_type_where_checkpoints_are_appended_is_kept_too(tmp_path: Path) -> None:
    typed(tmp_path, torch.bfloat16, torch.float32, torch.float16)
    files = sorted(tmp_path.iterdir())
    aw.analyze(files[:2], tmp_path / "run.accw", keep_state=True)

    grown = aw.append(files, tmp_path / "run.accw")

    whole = aw.analyze(files)
    assert len(whole.header.type_changes) == 2
    assert grown.header.type_changes == whole.header.type_changes


def test_headers_without_a_change_of_type_are_as_before() -> None:
    assert "type_changes" not in aw.analyze(series(2)).header.to_json()


# --- NaN


def broken() -> list[Weights]:
    """Return a run with NaN: fc2 at step 3, and all of fc1 at step 4."""
    states = series(5)
    for state in states[3:]:
        state["fc2.weight"][0, 0] = float("nan")
    states[4]["fc1.weight"][:] = float("nan")
    return states


def test_the_first_nan_is_that_of_the_earliest_step() -> None:
    finding = the("nonfinite", broken())

    assert finding.step == 3
    assert finding.layers[0] == "fc2"
    assert finding.text == (
        "the first NaN or infinity is in fc2.weight at step 3 (1 of 64 elements); fc1.weight "
        "follows at step 4"
    )


def test_of_one_step_the_first_in_network_order_is_named() -> None:
    states = series(3)
    for name in ("fc2.weight", "fc1.bias"):
        states[1][name].view(-1)[0] = float("inf")

    assert the("nonfinite", states).parameters == ("fc1.bias", "fc2.weight")


@pytest.mark.parametrize("on_disk", [False, True])
def test_strict_names_the_first_nan_whichever_is_walked_first(
    tmp_path: Path, on_disk: bool
) -> None:
    for step, state in enumerate(broken()):
        torch.save(state, tmp_path / f"step_{step}.pt")

    with pytest.raises(NonFiniteError) as caught:
        aw.analyze(tmp_path, tmp_path / "run.accw" if on_disk else None, strict=True)

    assert str(caught.value).startswith(
        "parameter 'fc2.weight' has 1 non-finite elements at step 3 ("
    )
    assert "step_3.pt" in str(caught.value)


def test_strict_names_it_also_if_the_other_was_finished_before(tmp_path: Path) -> None:
    for step, state in enumerate(broken()):
        torch.save(state, tmp_path / f"step_{step}.pt")
    aw.analyze(tmp_path, tmp_path / "run.accw")

    with pytest.raises(NonFiniteError, match=r"'fc2.weight' has 1 non-finite elements at step 3"):
        aw.analyze(tmp_path, tmp_path / "run.accw", strict=True)


def test_a_run_that_goes_to_nan_has_not_stopped() -> None:
    states = series(2)
    gone = {name: torch.full_like(value, float("nan")) for name, value in states[0].items()}

    found = found_in([*states, gone, gone, gone])

    assert list(found) == ["nonfinite"]


# --- what the commands print


def test_analyze_prints_findings_below_its_table(tmp_path: Path) -> None:
    for step in range(1, 5):
        torch.save(series(1)[0], tmp_path / f"epoch_{step}.pt")

    answer = accweight("analyze", tmp_path, "-o", tmp_path / "run.accw", piped=True)

    assert "\nnothing moved: every weight is bit-equal in all 4 checkpoints\n" in answer.out
    assert "\nthe reference is step 1: " in answer.out
    assert "most moved weight" not in answer.out
    document = accweight("analyze", tmp_path, "-o", tmp_path / "run.accw", "--json").document
    assert [finding["kind"] for finding in document["findings"]] == ["nothing_moved", "reference"]


def test_rank_prints_the_gravest_findings_alone(tmp_path: Path) -> None:
    for step in range(1, 5):
        torch.save(series(1)[0], tmp_path / f"epoch_{step}.pt")
    aw.analyze(tmp_path, tmp_path / "run.accw")

    answer = accweight("rank", tmp_path / "run.accw", piped=True)

    assert answer.out.endswith("\nnothing moved: every weight is bit-equal in all 4 checkpoints\n")
    assert "the reference" not in answer.out


def test_a_network_that_diverged_does_not_flood_the_terminal(tmp_path: Path) -> None:
    for step in range(3):
        value = float("nan") if step else 1.0
        state = {f"fc{i}.weight": torch.full((2, 2), value) for i in range(50)}
        torch.save(state, tmp_path / f"epoch_{step}.pt")

    answer = accweight("analyze", tmp_path, "-o", tmp_path / "run.accw", piped=True)

    assert answer.err.count("that are not finite") == 10
    assert "warning: 40 more like these" in answer.err
    assert "the first NaN or infinity is in fc0.weight at step 1" in answer.out
