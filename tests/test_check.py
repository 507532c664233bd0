"""`check`: findings alone, expectations, exit codes; and `compare` of two checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_cli import accweight
from test_findings import batch_normed, broken, series

import accweight_core as aw
from accweight_core.errors import ArgumentTypeError, UnknownNameError
from accweight_core.jobs.checking import Checked


def written(folder: Path, states: list[dict[str, torch.Tensor]]) -> Path:
    folder.mkdir(exist_ok=True)
    for step, state in enumerate(states):
        torch.save(state, folder / f"step_{step}.pt")
    return folder


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """A run of which fc1 is frozen and fc2 trained."""
    states = series(4)
    for state in states:
        state["fc1.weight"], state["fc1.bias"] = states[0]["fc1.weight"], states[0]["fc1.bias"]
    return written(tmp_path / "frozen", states)


# --- the command


def test_a_sound_run_is_ok_with_exit_code_0(tmp_path: Path) -> None:
    answer = accweight("check", written(tmp_path / "run", series(4)), piped=True)

    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "ok"


def test_a_run_that_never_moved_is_broken_with_exit_code_1(tmp_path: Path) -> None:
    answer = accweight("check", written(tmp_path / "run", [series(1)[0]] * 3), piped=True)

    assert answer.code == 1
    assert answer.err == ""
    assert "\nwrong: nothing moved: " in answer.out
    assert answer.out.splitlines()[-1] == "not ok: 1 thing wrong"


def test_an_analysis_is_checked_like_its_checkpoints(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", broken())
    aw.analyze(folder, tmp_path / "run.accw")

    answers = [accweight("check", x, "--json") for x in (folder, tmp_path / "run.accw")]

    assert [answer.code for answer in answers] == [1, 1]
    assert answers[0].document == answers[1].document
    assert answers[0].document["ok"] is False
    (finding,) = answers[0].document["findings"]
    assert finding["kind"] == "nonfinite"
    assert finding["layer"] == "fc2"
    assert finding["step"] == 3
    assert finding["text"].startswith("the first NaN or infinity is in fc2.weight at step 3")


def test_a_stored_analysis_of_another_name_is_one_too(tmp_path: Path) -> None:
    aw.analyze(written(tmp_path / "run", series(3)), tmp_path / "stored")

    assert accweight("check", tmp_path / "stored").code == 0


def test_wrong_usage_and_unreadable_runs_have_their_codes(tmp_path: Path) -> None:
    assert accweight("check").code == 2
    assert accweight("check", tmp_path, "--tolerance", "-1").code == 2
    assert "nowhere" in accweight("check", tmp_path / "nowhere").problem


# --- expectations


def test_what_is_expected_and_so_is_ok(frozen: Path) -> None:
    answer = accweight(
        "check", frozen, "--expect-frozen", "fc1", "--expect-moving", "fc2.*", piped=True
    )

    assert answer.code == 0
    assert "kept: fc1 is frozen: 2 parameters equal in every checkpoint\n" in answer.out
    assert "kept: fc2.* moved: 1 parameter\n" in answer.out


def test_a_frozen_layer_that_moved_is_named_with_its_step(frozen: Path) -> None:
    answer = accweight("check", frozen, "--expect-frozen", "fc2", "--json")

    assert answer.code == 1
    finding = answer.document["findings"][0]
    assert (finding["kind"], finding["layer"], finding["step"]) == ("expected_frozen", "fc2", 1)
    assert finding["parameters"] == ["fc2.weight"]


def test_a_moving_layer_that_stood_still_is_named(frozen: Path) -> None:
    result = aw.check(frozen, expect_moving=["fc*"])

    assert not result.ok
    assert result.findings[0].kind == "expected_moving"
    assert result.findings[0].parameters == ("fc1.weight", "fc1.bias")


def test_a_pattern_that_matches_nothing_is_an_error(frozen: Path) -> None:
    for option in ("--expect-frozen", "--expect-moving"):
        problem = accweight("check", frozen, option, "backbone.*").problem
        assert problem == (
            "the pattern 'backbone.*' matches no parameter; parameters are fc1.weight, fc1.bias, "
            "fc2.weight"
        )


def test_frozen_is_exact_unless_there_is_a_tolerance(tmp_path: Path) -> None:
    states = [series(1)[0] for _ in range(3)]
    states[2]["fc1.weight"][0, 0] += 1e-4

    assert not check(states, expect_frozen="fc1.weight").ok
    assert check(states, expect_frozen="fc1.weight", tolerance=1e-3).ok
    assert not check(states, expect_frozen="fc1.weight", tolerance=1e-9).ok
    assert not check(states, expect_moving="fc1.weight", tolerance=1e-3).ok


def check(states: list[dict[str, torch.Tensor]], **options: object) -> Checked:
    return aw.check(states, **options)  # type: ignore[arg-type]


def test_modules_around_parameters_are_matched_by_name() -> None:
    states = [
        {"net.block.0.weight": torch.zeros(2, 2), "net.head.weight": torch.full((2, 2), 1.0 + s)}
        for s in range(3)
    ]

    assert check(states, expect_frozen="net.block", expect_moving="net.head").ok
    assert not check(states, expect_frozen="net").ok


def test_running_statistics_of_a_frozen_layer_count() -> None:
    states = batch_normed(3)
    for step, state in enumerate(states):
        state["0.weight"] += step

    result = check(states, expect_frozen="1")

    assert not result.ok
    assert result.findings[0].parameters == ("1.running_mean", "1.running_var")
    assert "call eval()" in result.findings[0].text
    assert check(states, expect_frozen="1.weight").ok


def test_standing_still_is_not_wrong_where_it_is_expected() -> None:
    result = check([series(1)[0]] * 4, expect_frozen="*")

    assert result.ok
    assert [finding.kind for finding in result.findings] == ["nothing_moved"]


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf"), "0"])
def test_a_tolerance_is_a_number_from_0_on(tolerance: object) -> None:
    with pytest.raises(ArgumentTypeError, match="the tolerance is a number from 0 on"):
        check(series(2), tolerance=tolerance)


def test_patterns_of_python_may_be_one_text_or_several() -> None:
    assert (
        check(series(3), expect_moving="fc1").kept == check(series(3), expect_moving=["fc1"]).kept
    )
    with pytest.raises(UnknownNameError):
        check(series(3), expect_moving=["fc1", "f"])
    with pytest.raises(ArgumentTypeError):
        check(series(3), expect_moving=[1])


def test_an_open_analysis_and_a_run_are_checked() -> None:
    run = aw.open_run(series(3))

    assert aw.check(run).ok
    assert aw.check(aw.analyze(run)).ok


# --- what is not measured


def with_buffer(name: str, values: list[list[float]]) -> list[dict[str, torch.Tensor]]:
    """Return a run with a buffer of these values, by step."""
    states = series(len(values))
    for state, buffer in zip(states, values, strict=True):
        state[name] = torch.tensor(buffer, dtype=torch.float32)
    return states


@pytest.mark.parametrize("name", ["bn.running_var", "bn.running_mean", "bn.moving_variance"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_nan_or_infinity_in_a_buffer_is_told(name: str, value: float) -> None:
    states = with_buffer(name, [[1, 1], [1, 1], [1, value], [value, value]])

    result = check(states)

    assert not result.ok
    (finding,) = result.findings
    assert (finding.kind, finding.step, finding.parameters) == ("nonfinite", 2, (name,))
    assert finding.text == (
        f"the first NaN or infinity in a buffer is in {name} at step 2 (1 of 2 elements)"
    )


def test_the_buffer_that_was_hit_first_is_named_first() -> None:
    nan = float("nan")
    states = with_buffer("a.running_var", [[1.0], [1.0], [nan]])
    for state, value in zip(states, [1.0, nan, nan], strict=True):
        state["b.running_var"] = torch.tensor([value])

    (finding,) = check(states).findings

    assert finding.parameters == ("b.running_var", "a.running_var")
    assert finding.text.endswith("b.running_var at step 1 (1 of 1 element), and 1 buffer more")


def test_a_mask_of_infinities_is_no_damage() -> None:
    low = float("-inf")

    assert check(with_buffer("attn.mask", [[0, low], [0, low], [low, low]])).ok
    assert not check(with_buffer("attn.mask", [[0, low], [0, low], [0, float("nan")]])).ok


@pytest.mark.parametrize("gone", [0, 1])
def test_buffers_that_are_gone_are_a_note(tmp_path: Path, gone: int) -> None:
    folder = written(tmp_path / "run", with_buffer("bn.running_var", [[1.0], [2.0]]))
    aw.analyze(folder, tmp_path / "run.accw")
    (folder / f"step_{gone}.pt").unlink()

    result = aw.check(tmp_path / "run.accw")

    assert result.ok
    (note,) = result.notes
    assert note.startswith("buffers were not looked at: ")


# --- nothing is said twice


def test_patterns_that_say_the_same_give_one_finding(frozen: Path) -> None:
    given = ("--expect-frozen", "fc2") * 2
    overlapping = aw.check(frozen, expect_frozen=["fc2", "fc2.*", "fc2.weight"])

    kinds = [f["kind"] for f in accweight("check", frozen, *given, "--json").document["findings"]]
    assert kinds.count("expected_frozen") == 1
    assert [f.kind for f in overlapping.findings].count("expected_frozen") == 1
    assert not overlapping.ok


def test_what_an_expectation_says_is_not_said_again(frozen: Path) -> None:
    assert [f.kind for f in aw.check(frozen).findings] == ["frozen"]
    assert aw.check(frozen, expect_frozen="fc1").findings == ()
    assert [f.kind for f in aw.check(frozen, expect_moving="fc1").findings] == ["expected_moving"]
    assert [f.kind for f in aw.check(frozen, expect_moving="fc2").findings] == ["frozen"]


def test_moved_statistics_of_a_frozen_norm_are_said_once() -> None:
    states = batch_normed(3)

    assert "buffers_moved" in [f.kind for f in check(states).findings]
    kinds = [finding.kind for finding in check(states, expect_frozen="1").findings]
    assert kinds.count("expected_frozen") == 1
    assert "buffers_moved" not in kinds


def test_what_a_restart_looks_like_is_explained_once() -> None:
    runs = [series(2, seed) for seed in range(4)]
    for state in (state for run in runs for state in run):
        state["fc1.weight"] = state["fc1.weight"].repeat(4, 4)

    texts = [f.text for f in check([s for run in runs for s in run]).findings]

    told = [text for text in texts if "does not look like a continuation" in text]
    assert len(told) == 3
    assert ["unrelated networks are near 0" in text for text in told] == [True, False, False]
    assert all(text.endswith(", as above") for text in told[1:])


# --- a change of the element type


@pytest.mark.parametrize("buffer", [False, True])
def test_weights_saved_in_a_wider_type_have_not_moved(buffer: bool) -> None:
    values = torch.randn(2, 2, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    name = "bn.running_var" if buffer else "fc0.weight"
    states = series(3)
    for step, state in enumerate(states):
        state[name] = values if step < 1 else values.float()

    assert check(states, expect_frozen=name).ok


@pytest.mark.parametrize("buffer", [False, True])
def test_weights_saved_in_a_narrower_type_have_moved_by_its_rounding(buffer: bool) -> None:
    values = torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    name = "bn.running_var" if buffer else "fc0.weight"
    states = series(3)
    for step, state in enumerate(states):
        state[name] = values if step < 2 else values.to(torch.bfloat16)

    finding = check(states, expect_frozen=name).findings[0]

    assert (finding.kind, finding.step) == ("expected_frozen", 2)
    if not buffer:
        assert finding.text.endswith(
            "(rounding: the element type changes from float32 to bfloat16; "
            "--tolerance 0.0039 allows it)"
        )
        assert check(states, expect_frozen=name, tolerance=0.0039).ok


# --- patterns that match nothing


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("backbone.*", "did you mean model.backbone or "),
        ("model.head.wieght", "did you mean model.head.weight"),
        ("BACKBONE", "did you mean model.backbone or "),
        ("heads", "did you mean model.head"),
        ("[", ""),
        ("elsewhere", ""),
    ],
)
def test_a_pattern_that_matches_nothing_proposes_what_is_near(pattern: str, meant: str) -> None:
    states = [
        {"model.backbone.0.weight": torch.eye(2) * s, "model.head.weight": torch.eye(2) * s}
        for s in range(3)
    ]

    with pytest.raises(UnknownNameError) as caught:
        check(states, expect_frozen=pattern)

    assert meant in str(caught.value)
    assert ("did you mean" in str(caught.value)) == bool(meant)
    assert "parameters are model.backbone.0.weight" in str(caught.value)


# --- compare of two checkpoints


def test_two_checkpoints_are_compared_as_one_change(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", series(4))
    files = folder / "step_3.pt", folder / "step_1.pt"

    answer = accweight("compare", *files, piped=True)
    document = accweight("compare", *files, "--by", "relative", "--json").document

    expected = aw.analyze(aw.open_run(list(files), in_given_order=True)).ranking("relative")
    assert answer.out.startswith(f"the change from {files[0]} to {files[1]}, in the order given\n")
    assert [row["layer"] for row in document["ranking"]] == expected["layer"].tolist()
    assert [row["relative"] for row in document["ranking"]] == expected["relative"].tolist()
    assert (document["a"], document["b"]) == tuple(map(str, files))


def test_two_equal_checkpoints_are_said_to_be_identical(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", [series(1)[0]] * 2)

    answer = accweight("compare", folder / "step_0.pt", folder / "step_1.pt", piped=True)

    assert answer.out.endswith("step_1.pt are identical: every weight is bit-equal\n")


def test_folders_that_are_not_analysed_get_the_commands(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", series(3)), written(tmp_path / "two", series(3, 1))

    problem = accweight("compare", one, two).problem

    assert problem.startswith(f"{one} and {two}: not analysed yet")
    assert problem.endswith(
        f"Run: accweight analyze {one} -o {one}.accw; accweight analyze {two} -o {two}.accw; "
        f"accweight compare {one}.accw {two}.accw"
    )


def test_an_analysis_and_a_folder_get_the_missing_command(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", series(3))
    aw.analyze(folder, tmp_path / "a.accw")

    problem = accweight("compare", tmp_path / "a.accw", folder).problem

    assert problem.count("accweight analyze") == 1
    assert problem.endswith(f"accweight compare {tmp_path / 'a.accw'} {folder}.accw")


def test_a_checkpoint_and_an_analysis_cannot_be_compared(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", series(3))
    aw.analyze(folder, tmp_path / "a.accw")

    problem = accweight("compare", folder / "step_0.pt", tmp_path / "a.accw").problem

    assert "step_0.pt is one checkpoint and " in problem
    assert "a.accw is an analysis" in problem


def test_checkpoints_of_different_networks_are_refused_with_a_way(tmp_path: Path) -> None:
    one = written(tmp_path / "one", series(1)) / "step_0.pt"
    save_file({"other.weight": torch.ones(2, 2)}, tmp_path / "two.safetensors")

    problem = accweight("compare", one, tmp_path / "two.safetensors").problem

    assert "hold different parameters, so there is no change between them" in problem
    assert "two.safetensors has other.weight" in problem
    assert problem.endswith(f"accweight align {one} {tmp_path / 'two.safetensors'}")


def test_one_checkpoint_given_twice_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "one", series(1)) / "step_0.pt"

    assert "given twice" in accweight("compare", file, file).problem


# --- values far apart


def test_values_that_differ_several_times_are_said_in_words(tmp_path: Path) -> None:
    states = series(3)
    aw.analyze(states, tmp_path / "a.accw")
    for state in states:
        state["fc2.weight"] *= 8
    aw.analyze(states, tmp_path / "b.accw")

    answer = accweight(
        "compare", tmp_path / "a.accw", tmp_path / "b.accw", "--by", "mean", piped=True
    )

    (note,) = [line for line in answer.out.splitlines() if "of matched layers differs" in line]
    assert note.startswith("note: mean of matched layers differs, which their ranks do not show")
    assert "fc2 " in note
    assert "(8 times)" in note
    assert "fc1" not in note


@pytest.mark.parametrize(("factor", "is_told"), [(2.9, False), (3.1, True)])
def test_three_times_is_several(factor: float, is_told: bool) -> None:
    states = series(3)
    other = [{name: value * factor for name, value in state.items()} for state in states]

    notes = aw.compare(aw.analyze(states), aw.analyze(other), by="mean").notes

    assert any("as most differ, the runs differ in scale" in note for note in notes) == is_told


def test_a_folded_norm_is_named_as_the_reason() -> None:
    def network(step: int, *, is_folded: bool) -> dict[str, torch.Tensor]:
        norm = {} if is_folded else {"bn1.weight": torch.ones(4), "bn1.bias": torch.zeros(4)}
        scale = 1.5 if is_folded else 1.0
        return {
            "conv1.weight": torch.full((4, 1, 3, 3), scale * (1 + step)),
            **norm,
            "fc1.weight": torch.full((4, 16), 1.0 + 2 * step),
        }

    sides = [
        aw.analyze([network(step, is_folded=folded) for step in range(3)])
        for folded in (False, True)
    ]

    note = next(note for note in aw.compare(*sides, by="mean").notes if "folds" in note)

    assert "conv1 2 in a and 3 in b (1.5 times); an exporter that folds a norm" in note
    assert "fc1" not in note


# --- export of every parameter


def test_an_export_of_parameters_has_every_parameter(tmp_path: Path) -> None:
    aw.analyze(written(tmp_path / "run", series(3)), tmp_path / "run.accw")

    answer = accweight(
        "export", tmp_path / "run.accw", "--to", "csv", "-o", "-", "--per", "parameter", piped=True
    )

    rows = [line.partition(",")[0] for line in answer.out.splitlines()[1:]]
    assert list(dict.fromkeys(rows)) == ["fc1.weight", "fc1.bias", "fc2.weight"]


def test_roles_decide_what_an_export_of_layers_counts(tmp_path: Path) -> None:
    aw.analyze(written(tmp_path / "run", series(3)), tmp_path / "run.accw")
    command = ["export", tmp_path / "run.accw", "--to", "csv", "-o"]

    accweight(*command, tmp_path / "a.csv")
    accweight(*command, tmp_path / "b.csv", "--roles", "weight,bias")

    elements = [
        (tmp_path / name).read_text().splitlines()[1].split(",")[2] for name in ("a.csv", "b.csv")
    ]
    assert elements == [str(16 * 8), str(16 * 8 + 16)]
