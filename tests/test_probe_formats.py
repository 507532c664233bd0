"""Probes give the same for a run in files of any format, where the graph says what is used how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import APART, export
from networks import DYNAMO, Block, nudged
from safetensors.torch import save_file
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import SourceError
from accweight_core.schema import Role

FORMATS = ("pt", "safetensors", "onnx")
WIDTH = 8
WEIGHTS = ("stability", "filters", "unit_series:of=norm", "trajectory")


class Positioned(nn.Module):
    """Tokens with a class token, positions, and a bias of positions under a name of no meaning."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, WIDTH)
        self.pos = nn.Parameter(torch.randn(1, 6, WIDTH))
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.there = nn.Parameter(torch.randn(6, WIDTH))
        self.block, self.head = Block(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of three classes."""
        x = self.embed(x)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        return self.head(self.block(x + self.there).mean(1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three steps in every format, samples, and the graph of the last step."""
    folder = tmp_path_factory.mktemp("formats")
    torch.manual_seed(0)
    net, x = Positioned().eval(), torch.randint(20, (12, 5))
    np.savez(folder / "data.npz", x=x.numpy(), y=np.arange(12) % 3)
    for name in FORMATS:
        (folder / name).mkdir()
    for step in range(3):
        state = nudged(net, step).state_dict()
        torch.save(state, folder / f"pt/step_{step}.pt")
        save_file(state, folder / f"safetensors/step_{step}.safetensors")
        free = {"dynamic_shapes": ({0: torch.export.Dim.AUTO},)}
        graph = export(net, x[:2], folder / f"onnx/step_{step}.onnx", APART[DYNAMO] | free)
    (folder / "net.onnx").write_bytes(graph.read_bytes())
    return folder


def found(
    runs: Path, name: str, tmp_path: Path, probes: Sequence[str], *, graph: bool = True
) -> dict[str, ProbeResult]:
    network = aw.Network.from_onnx(runs / "net.onnx") if graph else None
    data = runs / "data.npz" if graph else None
    return aw.probe(aw.open_run(runs / name), network, data, list(probes), out=tmp_path / name)


def told(result: ProbeResult) -> dict[str, Any]:
    """Return everything that a result holds."""
    axes = {axis for field in result.fields.values() for axis in field.axes}
    arrays = {name: result.array(name) for name in result.arrays}
    return {"labels": {a: result.labels(a) for a in axes - {"step"}}, "arrays": arrays}


@pytest.mark.parametrize("name", FORMATS[1:])
def test_probes_give_the_same_for_any_format(runs: Path, tmp_path: Path, name: str) -> None:
    probes = (*WEIGHTS, "rewind", "linear_probe")

    ours, theirs = (found(runs, one, tmp_path, probes) for one in ("pt", name))

    assert list(ours) == list(theirs)
    for probe, result in ours.items():
        one, other = told(result), told(theirs[probe])
        assert one["labels"] == other["labels"], probe
        for array, values in one["arrays"].items():
            np.testing.assert_allclose(
                values, other["arrays"][array], rtol=1e-6, atol=1e-9, err_msg=f"{probe} {array}"
            )


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_only_added_is_no_layer_of_filters(runs: Path, tmp_path: Path, name: str) -> None:
    results = found(runs, name, tmp_path, ("stability", "filters", "linear_probe"))

    computing = ["block.q", "block.k", "block.v", "block.o", "block.up", "block.down", "head"]
    assert sorted(results["stability"].labels("layer")) == sorted(computing)
    assert results["filters"].attributes["layer"] in ("block.q", "block.k", "block.v")
    assert set(results["linear_probe"].labels("layer")) == {"embed", "block.norm", *computing}


@pytest.mark.parametrize("name", FORMATS)
def test_positions_and_class_tokens_are_told_by_their_names(runs: Path, name: str) -> None:
    roles = {p.name: p.role for p in aw.open_run(runs / name).parameters}

    assert roles["pos"] is roles["cls"] is Role.EMBEDDING
    assert all(role is not Role.BUFFER for role in roles.values())


def test_results_of_names_and_of_the_graph_are_apart(runs: Path, tmp_path: Path) -> None:
    (by_name,) = found(runs, "pt", tmp_path, ["stability"], graph=False).values()
    (by_graph,) = found(runs, "pt", tmp_path, ["stability"]).values()

    assert "there" in by_name.labels("layer")
    assert "there" not in by_graph.labels("layer")
    assert by_name.path != by_graph.path


def test_a_folder_is_no_network_and_a_file_of_it_is_named(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a folder with 3 ONNX files.*--model .*step_2\.onnx"):
        aw.Network.from_onnx(runs / "onnx")
    with pytest.raises(SourceError, match=r"a folder without an ONNX file; .*torch\.onnx\.export"):
        aw.Network.from_onnx(runs / "pt")
