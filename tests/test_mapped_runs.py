"""One run in two formats: the map makes it one, bit for bit what one format would have given."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import exported, nudged
from test_cli import accweight
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.errors import FormatError, MismatchError
from accweight_core.runs.name_map import NameMap
from accweight_core.runs.renaming import conformed
from accweight_core.schema import (
    Axis,
    Checkpoint,
    Extent,
    HiddenValues,
    Hints,
    Kind,
    StoredTensor,
)

TOKENS = torch.arange(10).reshape(2, 5)


class Net(nn.Module):
    """A square matrix, one that is not, and an LSTM, whose gates ONNX stacks otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.square, self.wide = nn.Linear(6, 6), nn.Linear(6, 9)
        self.lstm = nn.LSTM(9, 4, batch_first=True)
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the states of the GRU."""
        y = torch.relu(self.wide(torch.tanh(self.square(self.embed(x)))))
        return self.gru(self.lstm(y)[0])[0]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run twice: all of it from torch, and the last two checkpoints as ONNX."""
    folder = tmp_path_factory.mktemp("runs")
    whole, mixed = folder / "whole", folder / "mixed"
    whole.mkdir()
    mixed.mkdir()
    torch.manual_seed(0)
    net = Net()
    for step in range(4):
        torch.save(nudged(net, step).state_dict(), whole / f"net_epoch_{step}.pt")
        if step < 2:
            shutil.copy(whole / f"net_epoch_{step}.pt", mixed)
        else:
            exported(net, TOKENS, mixed / f"net_epoch_{step}.onnx")
    return whole, mixed


@pytest.fixture(scope="module")
def template(folders: tuple[Path, Path]) -> Path:
    """The map that `inspect` proposes for the mixed run."""
    file = folders[1].parent / "map.toml"
    answer = accweight("inspect", folders[1], "--write-map", file)
    assert answer.code == 0, answer.err
    return file


def test_two_formats_without_a_map_are_an_error_that_names_the_way_out(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    problem = accweight("analyze", folders[1], "-o", tmp_path / "x.accw").problem

    assert "files of several formats" in problem
    assert "--map FILE (accweight inspect SOURCE --write-map FILE proposes one)" in problem


def test_two_sets_of_names_without_a_map_are_an_error_that_names_the_way_out() -> None:
    with pytest.raises(MismatchError, match="say which are the same with map=FILE"):
        aw.open_run([{"a.weight": torch.ones(2, 2)}, {"b.weight": torch.ones(2, 2)}])


def test_the_template_lists_every_parameter_with_what_it_is_and_how_sure_that_is(
    template: Path,
) -> None:
    text = template.read_text()

    assert 'files = ["*.onnx"]' in text
    assert '"square" = "square"  # name, 100%: same name, kind and shape' in text
    assert (
        '= "wide.weight"  # linear, weight, 6x9 (input, output), there linear, weight, 9x6' in text
    )
    assert (
        '"lstm.bias_hh_l0" = { skip = true, files = ["*.pt"] }  # lstm, bias, 16, nothing' in text
    )
    found = NameMap.read(template)
    assert len(found.parameters) == 9 + 2 + 4


def test_a_run_that_goes_on_in_another_format_gives_the_bits_of_one_format(
    folders: tuple[Path, Path], template: Path, tmp_path: Path
) -> None:
    whole = aw.analyze(aw.open_run(folders[0]))

    mixed = aw.analyze(aw.open_run(folders[1], map=template), tmp_path / "mixed.accw")

    assert list(mixed.steps) == [0, 1, 2, 3]
    ours, theirs = ({row.name: row for row in a.measured()} for a in (mixed, whole))
    assert ours.keys() == theirs.keys() >= {"square", "wide", "lstm", "gru"}
    for name, row in ours.items():
        for metric, series in row.metrics.items():
            np.testing.assert_array_equal(series, theirs[name].metrics[metric], f"{name} {metric}")


def test_exact_values_are_read_through_the_map_again(
    folders: tuple[Path, Path], template: Path, tmp_path: Path
) -> None:
    aw.analyze(aw.open_run(folders[1], map=template), tmp_path / "mixed.accw")
    whole = aw.analyze(aw.open_run(folders[0]))

    opened = aw.open_analysis(tmp_path / "mixed.accw")

    for name in ("square.weight", "wide.weight", "lstm.weight_ih_l0", "gru.weight_hh_l0"):
        np.testing.assert_array_equal(opened.cumulative(name), whole.cumulative(name))
        ours, theirs = (a.trace(name, [2, 1]) for a in (opened, whole))
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.cumulative, theirs.cumulative)


def test_later_checkpoints_in_another_format_are_appended(
    folders: tuple[Path, Path], template: Path, tmp_path: Path
) -> None:
    files = sorted(folders[1].iterdir(), key=lambda p: p.stem)
    out = tmp_path / "run.accw"
    aw.analyze(aw.open_run(files[:2], skip=["*.bias_?h_l0"]), out, keep_state=True)

    whole = aw.analyze(aw.open_run(folders[0]))
    appended = aw.append(aw.open_run(files[2:], map=template), out)

    ours, theirs = ({r.name: r.metrics["mean"] for r in a.measured()} for a in (appended, whole))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_array_equal(
        aw.open_analysis(out).cumulative("lstm.weight_ih_l0"), whole.cumulative("lstm.weight_ih_l0")
    )


def test_the_command_takes_a_map_and_remembers_it(
    folders: tuple[Path, Path], template: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.accw"

    answer = accweight("analyze", folders[1], "-o", out, "--map", template, "--json")
    shown = accweight("inspect", folders[1], "--map", template, "--json").document

    assert answer.document["checkpoints"] == 4
    assert [group["steps"] for group in shown["groups"]] == [[0, 1, 2, 3]]
    assert aw.open_analysis(out).header.name_map["files"] == ["*.onnx"]


def test_one_group_gives_a_template_that_changes_nothing(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "map.toml"
    answer = accweight("inspect", folders[0], "--write-map", file, "--json")

    plain, mapped = aw.open_run(folders[0]), aw.open_run(folders[0], map=file)

    assert answer.document["map"] == str(file)
    assert plain.parameters == mapped.parameters
    assert (
        '"wide.weight" = "wide.weight"  # linear, weight, 9x6 (output, input)' in file.read_text()
    )


# --- renaming


def states(*names: str) -> list[dict[str, Tensor]]:
    return [{name: torch.full((2, 3), float(step))} for step, name in enumerate(names)]


def mapped(tmp_path: Path, text: str, source: object) -> aw.Run:
    file = tmp_path / "map.toml"
    file.write_text(text)
    return aw.open_run(source, map=file)  # type: ignore[arg-type]


def test_names_that_change_within_a_run_are_brought_together(tmp_path: Path) -> None:
    run = mapped(tmp_path, '[parameters]\n"net.*" = "*"\n', states("fc.weight", "net.fc.weight"))

    assert [list(c.tensors) for c in run.checkpoints] == [["fc.weight"]] * 2
    assert aw.analyze(run).ranking()["mean"].tolist() == [1]


def test_a_map_tells_kind_role_and_layer(tmp_path: Path) -> None:
    text = '[parameters]\nw = { layer = "table", kind = "embedding", role = "embedding" }\n'

    run = mapped(tmp_path, text, states("w", "w"))

    (only,) = run.parameters
    assert (only.layer, only.kind, only.role) == ("table", Kind.EMBEDDING, "embedding")


def test_axes_that_a_map_tells_turn_a_matrix(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    text = '[parameters]\n"fc.w" = { name = "fc.weight", axes = ["input", "output"] }\n'
    source = [{"fc.weight": matrix}, {"fc.w": matrix.T.contiguous() + 2}]

    run = mapped(tmp_path, text, source)

    assert aw.analyze(run).ranking()["mean"].tolist() == [2]


def test_two_parameters_of_one_name_are_an_error(tmp_path: Path) -> None:
    source = [{"a.w": torch.ones(2, 2), "b.w": torch.ones(2, 2)}] * 2

    with pytest.raises(MismatchError, match=r"'a\.w' and 'b\.w' of memory:0 would"):
        mapped(tmp_path, '[parameters]\n"a.w" = "b.w"\n', source)


def test_axes_of_another_number_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="'w' has 2 axes in memory:0, "):
        mapped(tmp_path, '[parameters]\nw = { axes = ["input"] }\n', states("w", "w"))


def test_a_name_that_no_checkpoint_has_is_noted(tmp_path: Path) -> None:
    run = mapped(tmp_path, '[parameters]\nwieght = "weight"\n', states("w", "w"))

    assert "no checkpoint has a parameter 'wieght'" in run.notes[-1]


def test_a_layer_is_left_out_with_all_its_parameters(tmp_path: Path) -> None:
    source = [{"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2), "b.weight": torch.ones(2, 2)}]

    run = mapped(tmp_path, "[layers]\na = false\n", source)

    assert [p.name for p in run.parameters] == ["b.weight"]


def test_another_map_for_what_is_appended_is_an_error(tmp_path: Path) -> None:
    source = states("w", "w", "w")
    (tmp_path / "run").mkdir()
    for step, state in enumerate(source):
        torch.save(state, tmp_path / "run" / f"epoch_{step}.pt")
    files = [tmp_path / "run" / f"epoch_{n}.pt" for n in range(3)]
    (tmp_path / "one.toml").write_text('[parameters]\nw = "v"\n')
    (tmp_path / "two.toml").write_text('[parameters]\n"w" = "v"\nx = "y"\n')
    out = tmp_path / "run.accw"
    aw.analyze(aw.open_run(files[:2], map=tmp_path / "one.toml"), out, keep_state=True)

    with pytest.raises(MismatchError, match="was made with another map"):
        aw.append(aw.open_run(files[2:], map=tmp_path / "two.toml"), out)
    assert len(aw.append(aw.open_run(files[2:], map=tmp_path / "one.toml"), out).steps) == 3


def test_a_map_that_an_analysis_kept_is_checked_when_it_is_used(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"layers: 'a' is 3"):
        NameMap.of_document({"layers": {"a": 3}})


# --- axes


def described(path: str, tensors: list[StoredTensor]) -> Checkpoint:
    return Checkpoint(path, 0, "", "", {t.name: t for t in tensors})


def stored(shape: tuple[int, ...], axes: tuple[Axis, ...], path: str = "f") -> StoredTensor:
    hints = Hints(kind=Kind.ATTENTION, axes=axes)
    return StoredTensor("w", Extent(path, 64, "float32", shape), hints)


OUT, IN, KER = Axis.OUTPUT, Axis.INPUT, Axis.KERNEL


@pytest.mark.parametrize(
    ("target", "own", "strides"),
    [
        (((3, 5), (OUT, IN)), ((5, 3), (IN, OUT)), (1, 3)),
        (((4, 2, 3, 3), (OUT, IN, KER, KER)), ((3, 3, 2, 4), (KER, KER, IN, OUT)), (1, 4, 24, 8)),
        (((8, 6), (OUT, IN)), ((6, 2, 4), (IN, OUT, OUT)), (1, 8)),
        (((6, 2, 4), (IN, OUT, OUT)), ((8, 6), (OUT, IN)), (1, 24, 6)),
        (((8, 6), (OUT, IN)), ((1, 8, 6), (Axis.DIRECTION, OUT, IN)), None),
    ],
)
def test_transposed_axes_are_read_where_they_lie(
    target: tuple[tuple[int, ...], tuple[Axis, ...]],
    own: tuple[tuple[int, ...], tuple[Axis, ...]],
    strides: tuple[int, ...] | None,
) -> None:
    first, second = conformed([described("a", [stored(*target)]), described("b", [stored(*own)])])

    values = second.tensors["w"].values
    assert isinstance(values, Extent)
    assert (values.shape, values.strides, values.offset) == (target[0], strides, 64)
    assert first.tensors["w"] == stored(*target)


def test_guessed_axes_that_one_shape_belies_turn_no_square() -> None:
    def checkpoint(path: str, axes: tuple[Axis, ...]) -> Checkpoint:
        tensors = [stored((4, 4), axes), stored((4, 12), axes)]
        return described(path, [tensors[0], StoredTensor("v", tensors[1].values, tensors[1].hints)])

    _, second = conformed([checkpoint("a", (OUT, IN)), checkpoint("b", (IN, OUT))])

    square = second.tensors["w"].values
    assert isinstance(square, Extent)
    assert square.strides is None


def test_values_that_are_handed_over_are_turned_as_well() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    handed = StoredTensor(
        "w", HiddenValues(lambda: matrix.T, "float32", (3, 2)), Hints(axes=(IN, OUT))
    )

    _, second = conformed([described("a", [stored((2, 3), (OUT, IN))]), described("b", [handed])])

    values = second.tensors["w"].values
    assert isinstance(values, HiddenValues)
    np.testing.assert_array_equal(values.load(), matrix)
