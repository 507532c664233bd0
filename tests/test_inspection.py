"""What is there, without reading weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import FORMATS, small, states, write_run, write_small_run

from accweight_core.errors import MismatchError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.selection import Selection


def test_the_document_of_a_run_says_where_everything_came_from(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_3.pt"])

    document = inspected(tmp_path).to_json()

    series = document.pop("series")
    assert [(one["name"], one["files"], one["format"]) for one in series] == [
        ("epoch", "epoch_N.pt", "torch zip")
    ]
    assert [c["step"] for c in series[0]["checkpoints"]] == [1, 3]
    assert series[0]["layers"] == document["layers"]
    sizes = [(tmp_path / name).stat().st_size for name in ("epoch_1.pt", "epoch_3.pt")]
    assert document == {
        "format": "torch zip",
        "reader": "torch",
        "checkpoints": [
            {
                "path": str(tmp_path / f"epoch_{step}.pt"),
                "step": step,
                "step_source": "in name: epoch",
                "size_bytes": size,
                "measures": {},
                "nonfinite_measures": {},
            }
            for step, size in zip((1, 3), sizes, strict=True)
        ],
        "groups": [{"group": 1, "steps": [1, 3], "parameters": 2}],
        "layers": [
            {
                "name": "fc",
                "kind": "linear",
                "parameters": [
                    {
                        "name": "fc.weight",
                        "shape": [3, 4],
                        "dtype": "float32",
                        "role": "weight",
                        "axes": ["output", "input"],
                    },
                    {
                        "name": "fc.bias",
                        "shape": [3],
                        "dtype": "float32",
                        "role": "bias",
                        "axes": ["other"],
                    },
                ],
            }
        ],
        "refused": {},
        "notes": [],
        "warnings": [],
        "run": "epoch",
        "left_out": [],
    }


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_shows_the_same_layers(tmp_path: Path, format_name: str) -> None:
    result = inspected(write_run(tmp_path, states(2), format_name))

    shown = {
        (layer.name, str(layer.kind), p.name, p.shape, p.dtype, str(p.role))
        for layer in result.layers
        for p in layer.parameters
    }
    assert len(shown) == 18
    assert shown >= {
        ("conv1", "conv", "conv1.weight", (8, 1, 3, 3), "float32", "weight"),
        ("bn1", "norm", "bn1.running_mean", (8,), "float32", "buffer"),
        ("bn1", "norm", "bn1.weight", (8,), "float32", "norm"),
        ("fc1", "linear", "fc1.bias", (16,), "float32", "bias"),
        ("lstm", "lstm", "lstm.weight_ih_l0", (20, 6), "float32", "weight"),
        ("embed", "embedding", "embed.weight", (20, 6), "float32", "embedding"),
    }


def test_several_runs_are_shown_and_not_an_error(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])
    torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "epoch_3.pt")

    result = inspected(tmp_path)

    assert [[c.step for c in group.checkpoints] for group in result.groups] == [[1, 2], [3]]
    assert result.shown.number == 1
    assert [layer.name for layer in result.layers] == ["fc"]


def test_the_layers_of_another_group_can_be_shown(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])
    torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "epoch_3.pt")

    result = inspected(tmp_path, Selection.of(group="2"))

    assert [layer.name for layer in result.layers] == ["conv"]


def test_a_group_that_is_not_there_is_an_error_here_as_in_analyze(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt", "epoch_2.pt"])

    with pytest.raises(MismatchError, match="there is no group 9"):
        inspected(tmp_path, Selection.of(group="9"))


def test_one_checkpoint_can_be_inspected(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["model.pt"])

    result = inspected(tmp_path / "model.pt")

    assert [(c.step, c.step_source) for c in result.opened.checkpoints] == [
        (0, "natural order of names")
    ]


def test_parameters_can_be_left_out(tmp_path: Path) -> None:
    write_small_run(tmp_path, ["epoch_1.pt"])

    result = inspected(tmp_path, Selection.of(skip=["*.bias"]))

    assert [p.name for layer in result.layers for p in layer.parameters] == ["fc.weight"]


def test_what_analyze_would_refuse_is_said_before(tmp_path: Path) -> None:
    torch.save(small(0, **{"q.weight": torch.ones(2, 2, dtype=torch.int8)}), tmp_path / "a.pt")

    result = inspected(tmp_path)

    assert list(result.refused) == ["q.weight"]
    assert "scale" in result.refused["q.weight"]


def test_formats_are_listed_once_each(tmp_path: Path) -> None:
    torch.save(small(0), tmp_path / "epoch_1.pt")
    torch.save(small(1), tmp_path / "epoch_2.pt", _use_new_zipfile_serialization=False)

    assert inspected(tmp_path).format == "torch legacy, torch zip"


def test_remarks_of_the_reader_are_made_once_for_all_checkpoints(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        content = {"model": small(number), "optimizer": {"state": {0: {"m": torch.ones(3)}}}}
        torch.save(content, tmp_path / f"epoch_{number}.pt")

    notes = inspected(tmp_path).opened.notes

    assert notes == ("3 checkpoints: left out 'optimizer': training state, not weights",)
