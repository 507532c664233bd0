"""The command line: what it prints where, what it exits with, and what it says of mistakes."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
import torch
from checkpoints import small, states, write_run, write_small_run
from rich.cells import cell_len
from rich.console import Console

import accweight_core as aw
from accweight_core.cli import COMMAND_GROUP, app, output, rankings, tables, viewing
from accweight_core.cli.options import parsed_roles, parsed_size
from accweight_core.errors import AccweightError, StoreError
from accweight_core.metrics.table import METRICS
from accweight_core.schema import Role
from accweight_core.text import count, plain, shortened, size

COMMAND = str(Path(sys.executable).with_name("accweight"))
LONG = "model.transformer.decoder.layers.23.self_attention_block.query_key_value_projection.dense"


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def problem(self) -> str:
        """The one line on stderr of a command that failed."""
        assert self.code == 1
        assert self.out == ""
        assert self.err.startswith("accweight: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1
        assert "unexpected" not in self.err
        assert "Traceback" not in self.err
        return self.err.removeprefix("accweight: ").rstrip("\n")


class Terminal(io.TextIOWrapper):
    """A stream that is a terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


def accweight(*arguments: object, encoding: str = "utf-8", piped: bool = False) -> Answer:
    """Run the command in this process, on a terminal of 80 columns without colours."""
    kind = io.TextIOWrapper if piped else Terminal
    out = kind(io.BytesIO(), encoding, newline="\n")
    err = io.TextIOWrapper(io.BytesIO(), encoding, newline="\n")
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "80", "TERM": "dumb"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.environ.pop("FORCE_COLOR", None)
        code = app.run([str(argument) for argument in arguments])
    return Answer(code, written(out).decode(encoding), written(err).decode(encoding))


def written(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


@dataclass(frozen=True)
class Place:
    """Two runs of one network and their analyses."""

    run: Path
    other_run: Path
    analysis: Path
    other: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return analyses made by the command itself."""
    folder = tmp_path_factory.mktemp("place")
    write_run(folder / "run", states(4))
    write_run(folder / "other", states(4, seed=1))
    for name in ("run", "other"):
        answer = accweight("analyze", folder / name, "-o", folder / f"{name}.accw")
        assert answer.code == 0, answer.err
    return Place(folder / "run", folder / "other", folder / "run.accw", folder / "other.accw")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with long names, zeros, NaN and a wide script."""
    folder = tmp_path_factory.mktemp("odd")
    for step in range(3):
        state = {
            f"{LONG}.weight": torch.full((4, 4), float(step)),
            f"{LONG}_2.weight": torch.full((4, 4), step * 1e-9),
            "zero.weight": step * torch.eye(3),
            "nan.weight": torch.full((2, 2), float("nan")),
            f"{'层' * 40}.weight": torch.full((2, 2), 1.0 + step),
            "still.weight": torch.ones(2, 2),
        }
        torch.save(state, folder / f"epoch_{step}.pt")
    accweight("analyze", folder, "-o", folder / "odd.accw")
    return folder / "odd.accw"


def table_in(text: str) -> list[str]:
    """Return the lines of the table in what a command printed, below its heading."""
    return text.split("\n\n")[1].splitlines()


def widest(text: str) -> int:
    return max(cell_len(line.rstrip()) for line in text.splitlines())


# Help, version, usage


def test_help_lists_every_command() -> None:
    answer = accweight("--help")

    assert answer.code == 0
    for command in ("inspect", "analyze", "rank", "compare", "export", "demo"):
        assert re.search(rf"^  {command} ", answer.out, re.MULTILINE)
    assert answer.err == ""


@pytest.mark.parametrize("command", ["inspect", "analyze", "rank", "compare", "export", "demo"])
def test_every_command_has_help(command: str) -> None:
    answer = accweight(command, "--help")

    assert answer.code == 0
    assert "--json" in answer.out
    assert "--debug" in answer.out
    assert widest(answer.out) <= 80


def test_the_version_is_printed() -> None:
    answer = accweight("--version")

    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(r"accweight \d+\.\d+\.\d+\S*\n", answer.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: "),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["inspect"], "Missing argument"),
        (["inspect", "--nope", "x"], "No such option '--nope'"),
        (["analyze", "x"], "Missing option"),
        (["rank", "x", "--top", "0"], "--top"),
        (["rank", "x", "--at", "soon"], "--at"),
        (["rank", "x", "--per", "tensor"], "--per"),
        (["export", "x", "--to", "xml", "-o", "y"], "'xml' is not one of 'csv', 'parquet', 'npz'"),
        (["analyze", "x", "-o", "y", "--threads", "0"], "--threads"),
        (["demo", "--epochs", "0"], "--epochs"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(arguments: list[str], said: str) -> None:
    answer = accweight(*arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        (
            "--roles",
            "wieght",
            "wieght is not a role; did you mean 'weight'? roles are bias, buffer, embedding",
        ),
        ("--roles", ",", "no role given; roles are bias, "),
        ("--picture-budget", "lots", "'lots' is not a size; expected a number such as 0, 256M"),
    ],
)
def test_options_of_a_wrong_value_exit_with_2(
    place: Place, tmp_path: Path, option: str, value: str, said: str
) -> None:
    answer = accweight("analyze", place.run, "-o", tmp_path / "a.accw", option, value)

    assert answer.code == 2
    assert said in answer.err
    assert not (tmp_path / "a.accw").exists()


# inspect


def test_inspect_shows_steps_and_layers(place: Place) -> None:
    answer = accweight("inspect", place.run)

    assert (answer.code, answer.err) == (0, "")
    lines = [line.rstrip() for line in answer.out.splitlines()]
    assert f"{place.run}: torch zip, 4 checkpoints" in answer.out.replace("\n", "")
    assert any(
        re.fullmatch(r" +2  in name: epoch  +[\d.]+ kB  epoch_2\.pt", line) for line in lines
    )
    assert any(re.fullmatch(r"conv2 +conv +876  weight 12x8x3x3, bias 12", line) for line in lines)
    assert widest(answer.out) <= 80


def test_inspect_prints_one_document(place: Place) -> None:
    answer = accweight("inspect", place.run, "--json")

    assert (answer.code, answer.err) == (0, "")
    document = answer.document
    assert {"format", "checkpoints", "layers"} <= document.keys()
    assert {"path", "step", "step_source"} <= document["checkpoints"][0].keys()
    assert {"name", "kind", "parameters"} <= document["layers"][0].keys()
    assert {"name", "shape", "dtype", "role"} <= document["layers"][0]["parameters"][0].keys()
    assert [c["step"] for c in document["checkpoints"]] == [0, 1, 2, 3]


def test_inspect_of_two_architectures_shows_both_groups(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])
    torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "epoch_3.pt")

    answer = accweight("inspect", tmp_path)

    assert answer.code == 0
    text = " ".join(answer.out.split())
    assert "not one run: the checkpoints hold different parameters" in text
    assert "epoch_3.pt (group 2)" in text
    assert "layers of group 1:" in text


def test_inspect_takes_several_files_and_options(place: Place) -> None:
    answer = accweight(
        "inspect",
        place.run / "epoch_2.pt",
        place.run / "epoch_0.pt",
        "--given-order",
        "--skip",
        "*.bias",
        "--skip",
        "lstm.*",
        "--reader",
        "torch",
        "--json",
    )

    document = answer.document
    assert [c["step_source"] for c in document["checkpoints"]] == ["order given"] * 2
    assert [Path(c["path"]).name for c in document["checkpoints"]] == ["epoch_2.pt", "epoch_0.pt"]
    names = [p["name"] for layer in document["layers"] for p in layer["parameters"]]
    assert not any(name.startswith("lstm") or name.endswith("bias") for name in names)


# analyze


def test_analyze_prints_the_ranking_and_where_it_is_stored(place: Place, tmp_path: Path) -> None:
    answer = accweight("analyze", place.run, "-o", tmp_path / "a.accw")

    assert answer.code == 0
    assert "4 checkpoints, steps 0 to 3; 15 parameters, 2,306 weights" in answer.out
    assert "most moved weight: " in answer.out
    assert "not for whether the layer is needed" in " ".join(answer.out.split())
    assert "a.accw" in answer.out
    assert widest(answer.out) <= 80
    assert (tmp_path / "a.accw").is_dir()


def test_analyze_prints_one_document_and_its_progress_elsewhere(
    place: Place, tmp_path: Path
) -> None:
    answer = accweight("analyze", place.run, "-o", tmp_path / "a.accw", "--json")

    assert answer.code == 0
    document = answer.document
    assert {"out", "checkpoints", "layers", "parameters", "max", "ranking"} <= document.keys()
    assert document["out"] == str(tmp_path / "a.accw")
    assert (document["checkpoints"], document["layers"], document["parameters"]) == (4, 6, 15)
    assert set(document["max"]) == {"layer", "parameter", "index", "value"}
    assert [row["rank"] for row in document["ranking"]] == [1, 2, 3, 4, 5, 6]
    assert document["max"]["value"] == max(row["max"] for row in document["ranking"])


def test_notes_and_warnings_go_to_stderr(tmp_path: Path) -> None:
    for number in range(3):
        state = small(number)
        state["fc.weight"][0, 0] = float("nan")
        content = {"model": state, "optimizer": {"state": {0: {"m": torch.ones(3)}}}}
        torch.save(content, tmp_path / f"epoch_{number}.pt")

    answer = accweight("analyze", tmp_path, "-o", tmp_path / "a.accw", "--json")

    assert "note: 3 checkpoints: left out 'optimizer': training state" in answer.err
    assert "warning: parameter 'fc.weight' holds up to 1 of 12 elements" in answer.err
    assert answer.document["notes"] == [
        "3 checkpoints: left out 'optimizer': training state, not weights"
    ]
    assert len(answer.document["warnings"]) == 1


def test_analyze_twice_opens_what_is_there(place: Place) -> None:
    first = accweight("analyze", place.run, "-o", place.analysis, "--json")
    again = accweight("analyze", place.run, "-o", place.analysis, "--json")

    assert again.document == first.document


def test_analyze_never_overwrites_another_analysis_unasked(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "a.accw"
    accweight("analyze", place.run, "-o", out)

    refused = accweight("analyze", place.other_run, "-o", out)
    asked = accweight("analyze", place.other_run, "-o", out, "--overwrite", "--json")

    assert refused.code == 1
    assert "holds the analysis of other checkpoints or with other options" in refused.err
    assert "--overwrite" in refused.err
    assert asked.document["ranking"] == accweight("rank", place.other, "--json").document["ranking"]


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["unasked", "asked"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_analyze_never_replaces_what_is_no_analysis(
    place: Place, tmp_path: Path, kind: str, overwrite: list[str]
) -> None:
    out = tmp_path / "precious"
    kept = out / "thesis.tex" if kind == "folder" else out
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("years of work")

    answer = accweight("analyze", place.run, "-o", out, *overwrite)

    assert answer.code == 1
    assert "this is not an accweight analysis" in answer.err
    where = f"(thesis.tex), and is never overwritten; choose another output, such as {out}/run.accw"
    assert (where if kind == "folder" else "choose another output, such as NAME.accw") in answer.err
    assert kept.read_text() == "years of work"


def test_analyze_of_chosen_roles_ranks_those(place: Place, tmp_path: Path) -> None:
    answer = accweight(
        "analyze", place.run, "-o", tmp_path / "a.accw", "--roles", "bias, norm", "--json"
    )

    assert {row["layer"] for row in answer.document["ranking"]} == {
        "conv1", "bn1", "conv2", "fc1", "lstm", "fc2",
    }  # fmt: skip


def test_the_option_that_differs_from_the_first_call_is_named(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "a.accw"
    accweight("analyze", place.run, "-o", out)

    state = accweight("analyze", place.run, "-o", out, "--keep-state")
    roles = accweight("analyze", place.run, "-o", out, "--roles", "bias")
    pictures = accweight("analyze", place.run, "-o", out, "--picture-budget", "0")

    assert "with other options: without --keep-state; leave it out; choose another" in state.err
    assert "--roles weight,embedding, not bias; choose another output" in roles.err
    assert "with another --picture-budget; choose another output" in pictures.err


# rank


def test_rank_rows_carry_every_metric(place: Place) -> None:
    document = accweight("rank", place.analysis, "--json").document

    assert {"by", "step", "ranking"} <= document.keys()
    assert (document["by"], document["step"]) == ("relative", 3)
    for row in document["ranking"]:
        assert {"rank", "layer", "kind", "elements", *METRICS} <= row.keys()
        assert "parameter" not in row
    values = [row["relative"] for row in document["ranking"]]
    assert values == sorted(values, reverse=True)


def test_rank_of_parameters_names_parameters(place: Place) -> None:
    document = accweight("rank", place.analysis, "--per", "parameter", "--json").document

    assert len(document["ranking"]) == 7
    for row in document["ranking"]:
        assert {"rank", "parameter", "kind", "elements", *METRICS} <= row.keys()
        assert "layer" not in row


@pytest.mark.parametrize("metric", METRICS)
def test_rank_orders_by_any_metric(place: Place, metric: str) -> None:
    document = accweight("rank", place.analysis, "--by", metric, "--at", 2, "--json").document

    assert (document["by"], document["step"]) == (metric, 2)
    values = [row[metric] for row in document["ranking"]]
    assert values == sorted(values, reverse=True)


def test_rank_shows_the_first_rows(place: Place) -> None:
    three = accweight("rank", place.analysis, "--top", 3, "--json").document["ranking"]
    many = accweight("rank", place.analysis, "--top", 999, "--json").document["ranking"]

    assert [row["rank"] for row in three] == [1, 2, 3]
    assert len(many) == 6


def test_undefined_numbers_are_null_and_never_nan(odd: Path) -> None:
    answer = accweight("rank", odd, "--by", "relative", "--json")

    assert "NaN" not in answer.out
    assert "Infinity" not in answer.out
    by_layer = {row["layer"]: row for row in answer.document["ranking"]}
    assert by_layer["still"]["relative"] == 0
    assert by_layer["zero"]["relative"] is None
    assert by_layer["nan"]["rotation"] is None


def test_the_reference_step_has_no_update(place: Place) -> None:
    rows = accweight("rank", place.analysis, "--at", 0, "--json").document["ranking"]

    assert all(row["update_ratio"] is None and row["mean"] == 0 for row in rows)


def test_an_unknown_metric_is_answered_with_those_there_are(place: Place) -> None:
    expected = f"no metric is called 'speed'; metrics are {', '.join(METRICS)}"

    assert accweight("rank", place.analysis, "--by", "speed").problem == expected
    assert accweight("compare", place.analysis, place.other, "--by", "speed").problem == expected
    assert accweight("analyze", place.run, "-o", "x", "--by", "speed").problem == expected


@pytest.mark.parametrize(
    "command",
    ["rank {}", "layers {}", "plot {} curves -o x.png", "report {} -o x.html",
     "graph {} -o x.html", "compare {0} {0}", "export {} --to tensorboard -o x"],
)  # fmt: skip
def test_a_loss_that_is_asked_for_as_a_metric_of_layers_is_told_where_it_is(
    tmp_path: Path, command: str
) -> None:
    with aw.ChangeTracker(tmp_path / "a.accw", errors="raise") as tracker:
        for step in range(2):
            tracker.update({"fc.weight": torch.full((2, 2), step / 4)}, loss=0.5)

    problem = accweight(*command.format(tmp_path / "a.accw").split(), "--by", "loss").problem

    assert problem == (
        "loss is a training figure, one number per step and none per layer: `accweight view` shows "
        "it over the steps, and `accweight export` writes it beside the metrics of layers, which "
        "`accweight metrics` lists"
    )


def test_an_unknown_step_is_answered_with_those_there_are(place: Place) -> None:
    answer = accweight("rank", place.analysis, "--at", "99")

    assert answer.problem == "the run has no step 99; its steps are 0, 1, 2, 3"


# compare


def test_compare_prints_one_document(place: Place) -> None:
    document = accweight("compare", place.analysis, place.other, "--json").document

    assert {
        "by", "spearman", "kendall", "rbo", "top_overlap", "layers", "only_a", "only_b",
    } <= document.keys()  # fmt: skip
    assert {"layer", "rank_a", "rank_b", "value_a", "value_b"} <= document["layers"][0].keys()
    assert (document["only_a"], document["only_b"]) == ([], [])
    assert set(document["top_overlap"]) == {"1", "3", "5"}


def test_compare_with_itself_agrees(place: Place) -> None:
    document = accweight("compare", place.analysis, place.analysis, "--json").document

    assert [round(document[name], 12) for name in ("spearman", "kendall", "rbo")] == [1, 1, 1]
    assert set(document["top_overlap"].values()) == {1}


def test_compare_shows_who_moved_places(place: Place) -> None:
    answer = accweight("compare", place.analysis, place.other, "--by", "relative")

    assert answer.code == 0
    assert "agreement by relative, 6 layers: Spearman" in answer.out
    assert "shared layers at the top" in answer.out
    assert widest(answer.out) <= 80


def test_compare_of_strangers_says_that_they_share_nothing(place: Place, odd: Path) -> None:
    problem = accweight("compare", place.analysis, odd).problem

    assert problem.startswith("the two analyses share no layer name: conv1, conv2")


# Tables


@pytest.mark.parametrize("metric", METRICS)
def test_tables_fit_80_columns_with_any_names(odd: Path, metric: str) -> None:
    for command in (
        ["rank", odd],
        ["rank", odd, "--per", "parameter"],
        ["compare", odd, odd],
    ):
        answer = accweight(*command, "--by", metric)
        assert answer.code == 0
        assert widest(answer.out) <= 80


def test_inspect_fits_80_columns_with_any_names(odd: Path) -> None:
    answer = accweight("inspect", odd.parent, "--exclude", "nothing")

    assert answer.code == 0
    assert widest(answer.out) <= 80


def test_long_names_are_folded_and_not_cut(odd: Path) -> None:
    lines = table_in(accweight("rank", odd, "--by", "mean", "--top", 1).out)[1:]

    parts = [re.match(r"[ 1]  (\S+)", line) for line in lines]
    assert len(parts) > 1
    assert "".join(part[1] for part in parts if part) == LONG


def test_numbers_in_tables_are_those_of_the_document(place: Place) -> None:
    table = accweight("rank", place.analysis, "--by", "efficiency").out
    rows = accweight("rank", place.analysis, "--by", "efficiency", "--json").document["ranking"]

    for row, line in zip(rows, table_in(table)[1:], strict=True):
        cells = line.split()
        assert cells[:3] == [str(row["rank"]), row["layer"], row["kind"]]
        assert f"{row['efficiency']:.4g}" in cells


# export


@pytest.mark.parametrize("to", ["csv", "parquet", "npz"])
def test_export_writes_once(place: Place, tmp_path: Path, to: str) -> None:
    out = tmp_path / f"table.{to}"

    first = accweight("export", place.analysis, "--to", to, "-o", out, "--json")
    content = out.read_bytes()
    again = accweight("export", place.analysis, "--to", to, "-o", out)
    asked = accweight("export", place.analysis, "--to", to, "-o", out, "--overwrite")

    assert first.document == {"out": str(out), "to": to, "rows": 24}
    assert again.problem == f"{out}: exists already; choose another name, or add --overwrite"
    assert out.read_bytes() == content or to == "parquet"
    assert asked.code == 0
    assert "24 rows written to" in asked.out


# Mistakes


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["inspect", "{}/gone"], "gone: there is no such file or folder"),
        (["inspect", "{}"], ": no checkpoints found; files looked for: "),
        (["inspect", "{}/*.pt"], ": no checkpoints found"),
        (["rank", "{}/gone.accw"], "gone.accw: there is no such analysis; make one with: "),
        (["rank", "{}"], ": this is not an accweight analysis"),
        (["compare", "{}/a", "{}/b"], "a: there is no such analysis"),
        (["export", "{}/a", "--to", "csv", "-o", "{}/x"], "a: there is no such analysis"),
        (["analyze", "{}/gone", "-o", "{}/x"], "gone: there is no such file or folder"),
    ],
)
def test_mistakes_are_one_line_on_stderr(tmp_path: Path, command: list[str], expected: str) -> None:
    answer = accweight(*(part.format(tmp_path) for part in command))

    assert expected in answer.problem


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["text", "json"])
def test_mistakes_found_after_opening_are_one_line_too(
    tmp_path: Path, json_option: list[str]
) -> None:
    write_small_run(tmp_path, ["epoch_1.pt"])

    answer = accweight("analyze", tmp_path, "-o", tmp_path / "a.accw", *json_option)

    assert answer.problem == (
        f"{tmp_path}: a run needs at least two checkpoints to show change, found 1"
    )


NO_PLACES = {
    "": "cannot be what a", "/": "cannot be what a", "http://there/x": "is stored locally",
    "fifo": "is a FIFO", "a\0b": "cannot be written", "x" * 300: "cannot be written",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_PLACES, ids=lambda name: ascii(name)[:20])
@pytest.mark.parametrize("command", ["analyze", "align", "inspect", "train", "view", "export"])
def test_places_where_nothing_can_be_written_are_one_line_in_every_command(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    before = sorted(tmp_path.iterdir())
    arguments: dict[str, list[object]] = {
        "analyze": [place.run, "-o"],
        "align": [place.run, place.other_run, "-o"],
        "inspect": [place.run, "--write-map"],
        "train": ["model.onnx", "--data", "data.npz", "-o"],
        "view": [place.analysis, "--screenshot"],
        "export": [place.analysis, "--to", "csv", "-o"],
    }

    answer = accweight(command, *arguments[command], name)

    assert NO_PLACES[name] in answer.problem
    assert sorted(tmp_path.iterdir()) == before


def test_missing_data_of_the_demo_is_one_line(tmp_path: Path) -> None:
    answer = accweight("demo", "--data", tmp_path, "--out", tmp_path / "out")

    assert "no train-images-idx3-ubyte.gz there" in answer.problem


def test_a_step_no_integer_can_hold_is_no_fault_of_the_program(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["step_1.pt", "step_99999999999999999999999.pt"])

    answer = accweight("analyze", tmp_path, "-o", tmp_path / "a.accw")

    assert "unexpected" not in answer.err


def test_debug_lets_the_traceback_through(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such analysis"):
        accweight("rank", tmp_path / "gone.accw", "--debug")


def test_a_fault_of_ours_is_one_line_and_asks_for_a_report(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **options: object) -> None:
        raise ZeroDivisionError("of course\nnot")

    monkeypatch.setattr("accweight_core.analysis.analysis.Analysis.open", broken)

    answer = accweight("rank", place.analysis)

    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        "accweight: unexpected ZeroDivisionError: of course not; "
        "run again with --debug and report what it shows\n"
    )


# Pipes


def test_a_pipe_gets_whole_lines_without_padding(odd: Path) -> None:
    commands: list[list[object]] = [
        ["rank", odd], ["compare", odd, odd], ["inspect", odd.parent], ["align", odd, odd],
    ]  # fmt: skip
    for command in commands:
        answer = accweight(*command, piped=True)

        assert answer.code == 0
        lines = answer.out.split("\n")
        assert [line for line in lines if line != line.rstrip()] == []
        assert any(LONG in line and cell_len(line) > 80 for line in lines)
        assert answer.out.endswith("\n")
        assert not answer.out.endswith("\n\n")


def test_a_pipe_gets_every_column_and_a_row_per_line(odd: Path) -> None:
    asked = "rank", odd, "--by", "mean"
    piped, terminal = accweight(*asked, piped=True).out, accweight(*asked).out
    rows = accweight(*asked, "--json").document["ranking"]

    head, *lines = table_in(piped)
    assert head.split() == [
        "#",
        "layer",
        "kind",
        "weights",
        "mean",
        "relative",
        "(walk)",
        "rotation",
        "(walk)",
        "efficiency",
        "(walk)",
        "max",
    ]
    assert [line.split()[1] for line in lines] == [row["layer"] for row in rows]
    assert table_in(terminal)[0].split() != head.split()


def test_long_rankings_on_a_narrow_terminal_keep_a_line_per_layer(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = accweight("rank", odd, "--by", "mean").out
    monkeypatch.setattr(output, "MANY_ROWS", 1)

    plainly = accweight("rank", odd, "--by", "mean").out

    assert len(plainly.splitlines()) < len(folded.splitlines())
    assert sorted("".join(plainly.split())) == sorted("".join(folded.split()))


# What a ranking is of, and what it leaves out


def test_a_ranking_is_headed_by_run_metric_and_step(place: Place) -> None:
    whole = accweight("rank", place.analysis, "--by", "relative", "--at", 2, piped=True)
    part = accweight("rank", place.analysis, "--per", "parameter", "--top", 3, piped=True)

    assert whole.out.startswith(f"{place.run}: layers by relative at step 2\n\n")
    heading = f"{place.run}: parameters by relative at step 3 (the first 3 of 7)"
    assert part.out.splitlines()[0] == heading


def test_what_a_ranking_leaves_out_is_said_below_it(place: Place, tmp_path: Path) -> None:
    said = (
        "6 biases and 2 norms are not counted; "
        "count all with: accweight rank --roles weight,embedding,bias,norm"
    )
    for command in (["rank", place.analysis], ["analyze", place.run, "-o", tmp_path / "a.accw"]):
        assert f"\n{said}\n" in accweight(*command, piped=True).out


def test_a_ranking_of_all_roles_leaves_nothing_out(place: Place) -> None:
    answer = accweight(
        "rank", place.analysis, "--roles", "weight,embedding,bias,norm", "--json", piped=True
    )
    text = accweight("rank", place.analysis, "--roles", "weight,embedding,bias,norm").out

    assert answer.document["left_out"] == {}
    assert answer.document["roles"] == ["weight", "embedding", "bias", "norm"]
    assert "bn1" in {row["layer"] for row in answer.document["ranking"]}
    assert "not counted" not in text


def test_one_parameter_left_out_is_said_in_the_singular(tmp_path: Path) -> None:
    for step in range(2):
        weights = {"a.weight": torch.full((2, 2), float(step)), "a.bias": torch.ones(2)}
        torch.save(weights, tmp_path / f"epoch_{step}.pt")
    accweight("analyze", tmp_path, "-o", tmp_path / "a.accw")

    answer = accweight("rank", tmp_path / "a.accw", piped=True)

    assert "\n1 bias is not counted; " in answer.out


def test_the_document_of_a_ranking_says_what_it_leaves_out(place: Place) -> None:
    document = accweight("rank", place.analysis, "--top", 2, "--json").document

    assert document["source"] == str(place.run)
    assert document["left_out"] == {"bias": 6, "norm": 2}
    assert (document["rows"], len(document["ranking"])) == (6, 2)


def test_roles_that_were_not_measured_cannot_be_counted(place: Place) -> None:
    problem = accweight("rank", place.analysis, "--roles", "buffer").problem

    assert problem.endswith(
        "no parameter has the role buffer; roles measured: weight, bias, norm, embedding"
    )


# Exports to stdout


def test_a_table_is_exported_to_stdout_and_remarks_elsewhere(place: Place, tmp_path: Path) -> None:
    accweight("export", place.analysis, "--to", "csv", "-o", tmp_path / "table.csv")

    answer = accweight("export", place.analysis, "--to", "csv", "-o", "-")

    assert answer.code == 0
    assert answer.out.encode() == (tmp_path / "table.csv").read_bytes()
    assert answer.err == "note: 24 rows written to stdout\n"
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("to", ["parquet", "npz"])
def test_binary_tables_go_through_a_pipe(place: Place, tmp_path: Path, to: str) -> None:
    accweight("export", place.analysis, "--to", to, "-o", tmp_path / "table")

    done = subprocess.run(
        [COMMAND, "export", place.analysis, "--to", to, "-o", "-"], capture_output=True, check=True
    )

    expected = (tmp_path / "table").read_bytes()
    assert len(done.stdout) == len(expected)
    assert done.stdout[:4] == expected[:4]
    assert done.stderr == b"note: 24 rows written to stdout\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "csv", "--json"], "-o - and --json both write to stdout; take one of them"),
        (["--to", "npz"], "npz is binary, and stdout is a terminal; name a file, or redirect"),
    ],
    ids=["json", "binary"],
)
def test_what_stdout_cannot_take_is_a_usage_error(
    place: Place, options: list[str], said: str
) -> None:
    answer = accweight("export", place.analysis, "-o", "-", *options)

    assert (answer.code, answer.out) == (2, "")
    assert said in " ".join(answer.err.split())


# Hostile names


@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["text", "json"])
def test_control_characters_of_file_names_never_reach_the_terminal(
    tmp_path: Path, json_option: list[str]
) -> None:
    evil = "a\x1b[31m\x1b]0;owned\x07\x9b5m\u202e\x7f\r"
    write_small_run(tmp_path / evil, [f"{evil}_{number}.pt" for number in (1, 2)])

    answers = [
        accweight("inspect", tmp_path / evil, *json_option),
        accweight("analyze", tmp_path / evil, "-o", tmp_path / f"{evil}.accw", *json_option),
        accweight("rank", tmp_path / f"{evil}.accw", *json_option),
        accweight("inspect", tmp_path / f"{evil}gone"),
    ]

    for answer in answers:
        assert "unexpected" not in answer.err
        for character in (answer.out + answer.err).replace("\n", ""):
            assert character.isprintable(), repr(character)
    if json_option:
        assert answers[0].document["checkpoints"][0]["path"] == str(
            tmp_path / evil / f"{evil}_1.pt"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not text need Linux")
@pytest.mark.parametrize("json_option", [[], ["--json"]], ids=["text", "json"])
def test_file_names_that_are_no_text_are_printed_all_the_same(
    tmp_path: Path, json_option: list[str]
) -> None:
    for number in (1, 2):
        torch.save(small(number), tmp_path / "plain.pt")
        os.rename(tmp_path / "plain.pt", os.fsencode(tmp_path) + b"/a\xff_%d.pt" % number)

    answer = accweight("inspect", tmp_path, *json_option)

    assert (answer.code, answer.err) == (0, "")
    assert "udcff_1.pt" in answer.out


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["[bold]a_1.pt", "[bold]a_2.pt", "[bold]a_3.pt"])

    answer = accweight("inspect", tmp_path)

    assert "[bold]a_1.pt" in answer.out


# Terminals and pipes


def test_a_terminal_that_knows_only_ascii_still_gets_its_table(place: Place) -> None:
    table = accweight("rank", place.analysis, encoding="ascii")
    document = accweight("inspect", place.run, "--json", encoding="ascii")

    assert (table.code, table.err) == (0, "")
    assert "conv1" in table.out
    assert document.document["format"] == "torch zip"


def test_a_reader_that_stops_reading_is_no_fault(place: Place) -> None:
    done = subprocess.run(
        ["bash", "-c", f"'{COMMAND}' inspect '{place.run}' --json | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode in (0, 1)
    assert done.stderr == ""


def test_the_installed_command_prints_one_document_and_nothing_else(
    place: Place, tmp_path: Path
) -> None:
    done = subprocess.run(
        [COMMAND, "analyze", place.run, "-o", tmp_path / "a.accw", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert json.loads(done.stdout)["checkpoints"] == 4


# Commands of other packages


@click.command()
@click.option("--name", default="world")
def hello(name: str) -> None:
    """Greet."""
    print(f"hello {name}")  # noqa: T201


def test_commands_of_other_packages_are_found_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("hello", f"{__name__}:hello", COMMAND_GROUP)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(app, "entry_points", lambda group: [point])

    helped, said = accweight("--help"), accweight("hello", "--name", "you")

    assert re.search(r"^  hello +Greet\.$", helped.out, re.MULTILINE)
    assert (said.code, said.out) == (0, "hello you\n")


def test_a_command_that_cannot_be_loaded_is_one_line_and_no_help_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = EntryPoint("broken", "no_such_package_anywhere:main", COMMAND_GROUP)
    monkeypatch.setattr(app, "entry_points", lambda group: [point])

    helped, failed = accweight("--help"), accweight("broken")

    assert helped.code == 0
    assert "(provided by no_such_package_anywhere)" in helped.out
    assert failed.code == 1
    assert "no_such_package_anywhere" in failed.err
    assert failed.err.count("\n") == 1


def test_our_own_commands_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    point = EntryPoint("rank", "no_such_package_anywhere:main", COMMAND_GROUP)
    monkeypatch.setattr(app, "entry_points", lambda group: [point])

    assert accweight("rank", place.analysis, "--json").code == 0


# Small parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("10", 10), ("256M", 256 << 20), ("1GiB", 1 << 30), ("1.5k", 1536),
     (" 2 TB ", 2 << 40)],
)  # fmt: skip
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parsed_size(text) == expected


def test_roles_are_read() -> None:
    assert parsed_roles("weight, bias,,norm") == (Role.WEIGHT, Role.BIAS, Role.NORM)


def test_text_for_terminals_keeps_letters_and_spells_out_the_rest() -> None:
    assert plain("prøve 走 a\x1b\n\u202e") == "prøve 走 a\\x1b\\n\\u202e"


def test_paths_are_shown_without_what_they_share() -> None:
    assert shortened(["/a/b/c.pt", "/a/b/d.pt"]) == ["c.pt", "d.pt"]
    assert shortened(["/a/b/1/c.pt", "/a/b/2/c.pt"]) == ["1/c.pt", "2/c.pt"]
    assert shortened(["/a/b.pt", "c.pt"]) == ["/a/b.pt", "c.pt"]
    assert shortened(["c.pt"]) == ["c.pt"]


def test_counts_and_sizes_are_short() -> None:
    assert [count(n) for n in (0, 9999, 10_000, 999_499, 999_999, 7e9, 1.2e12)] == [
        "0", "9,999", "10k", "999k", "1M", "7G", "1.2e+03G",
    ]  # fmt: skip
    assert [size(n) for n in (0, 999, 1000, 2.5e6, 3e12)] == [
        "0 B",
        "999 B",
        "1 kB",
        "2.5 MB",
        "3 TB",
    ]


def test_nobody_watches_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")

    assert not viewing.is_watched()


def test_a_terminal_with_a_screen_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    assert viewing.is_watched()


def test_a_viewer_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(AccweightError, match="the viewer ended with exit code 1"):
        viewing.opened_viewer(tmp_path / "nothing.accw")


def test_a_table_that_fits_looks_as_if_rich_had_drawn_it() -> None:
    rows = [
        {"rank": n, "layer": f"层{n}", "kind": "conv", "elements": 10**n, "mean": 1 / n, "max": 2.0}
        | {"relative": float("nan"), "efficiency": 0.5}
        for n in range(1, 7)
    ]
    table = rankings.ranking_table({"by": "mean", "ranking": rows})
    console = Console(file=io.StringIO(), width=80)

    console.print(table.folded())

    drawn = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert table.lines() == drawn


@pytest.mark.parametrize(
    ("value", "shown"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "-"), (3.0, "3")]
)
def test_numbers_that_are_not_finite_stand_in_tables(value: float, shown: str) -> None:
    assert tables.number(value) == shown
