"""The graph of an analysis: kept in it, bound to its layers, drawn by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from planted_graphs import TWELVE, TWELVE_EDGES, run_of_twelve, two_branches
from probe_results import stored_results

import accweight_core as aw
from accweight_core.analysis.graph_colours import graph_scale, layer_numbers, stripes
from accweight_core.analysis.probe_metrics import probe_metric_names
from accweight_core.cli.app import application
from accweight_core.errors import MismatchError, SourceError, StoreError, UnknownNameError
from accweight_core.store.graph_document import keep_graph, stored_graph


@pytest.fixture(scope="module")
def of_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the analysis of checkpoints that are models."""
    return run_of_twelve(tmp_path_factory.mktemp("models"))


@pytest.fixture
def of_arrays(tmp_path: Path) -> Path:
    """Return the analysis of checkpoints without a graph."""
    return run_of_twelve(tmp_path, onnx_steps=False)


def said(*arguments: Any) -> dict[str, Any]:
    """Return what the command says as JSON."""
    result = CliRunner().invoke(application(), ["graph", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_an_analysis_of_models_keeps_their_graph(of_models: Path) -> None:
    graph = aw.open_analysis(of_models).graph

    assert graph.between_layers() == TWELVE_EDGES
    assert not graph.is_chain
    assert graph.origin == "net_2.onnx"


def test_without_a_graph_the_layers_are_a_chain_and_that_is_said(of_arrays: Path) -> None:
    document = said(of_arrays)

    layers = [layer.name for layer in aw.open_analysis(of_arrays).layers]
    assert document["is_chain"]
    assert "no graph of this network is known" in document["origin"]
    assert [node["name"] for node in document["nodes"]] == layers
    assert document["edges"] == [[at, at + 1] for at in range(len(TWELVE) - 1)]
    assert stored_graph(of_arrays) is None


def test_the_graph_of_a_model_is_bound_to_the_layers_of_a_run_and_kept(
    of_arrays: Path, tmp_path: Path
) -> None:
    said(of_arrays, "--model", two_branches(tmp_path / "net.onnx"))

    assert aw.open_analysis(of_arrays).graph.between_layers() == TWELVE_EDGES
    assert said(of_arrays)["origin"] == "net.onnx"


def test_analyze_keeps_the_graph_of_the_model_that_it_is_given(
    of_arrays: Path, tmp_path: Path
) -> None:
    net, out = two_branches(tmp_path / "net.onnx"), tmp_path / "other.accw"

    given = ["analyze", str(of_arrays.parent / "checkpoints"), "-o", str(out), "--model", str(net)]
    result = CliRunner().invoke(application(), given)

    assert result.exit_code == 0
    assert aw.open_analysis(out).graph.between_layers() == TWELVE_EDGES


def test_layers_of_other_names_are_aligned(tmp_path: Path) -> None:
    made = {step: {} for step in (0, 1)}
    for step, arrays in made.items():
        for number, name in enumerate(TWELVE):
            other = f"backbone.{name}".replace("fc", "linear")
            arrays[f"{other}.weight"] = np.full((3, 3), number + step, np.float32)
    aw.analyze(aw.open_run(made), tmp_path / "run.accw")

    said(tmp_path / "run.accw", "--model", two_branches(tmp_path / "net.onnx"))

    edges = aw.open_analysis(tmp_path / "run.accw").graph.between_layers()
    assert ("backbone.left.2", "backbone.body.0.linear1") in edges
    assert len(edges) == len(TWELVE_EDGES)


def test_a_file_without_a_graph_says_how_to_get_one(of_arrays: Path, tmp_path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(3, 3)}, tmp_path / "net.pt")

    given = ["graph", str(of_arrays), "--model", str(tmp_path / "net.pt")]
    failure = CliRunner().invoke(application(), given).exception

    assert isinstance(failure, SourceError)
    assert "has weights but no graph; write one with: torch.onnx.export(model" in str(failure)
    assert "\n" not in str(failure)


def test_a_model_of_another_network_is_refused(tmp_path: Path) -> None:
    from accweight_core.alignment.graph_binding import graph_from

    run = aw.open_run({s: {"a.weight": np.full((7, 11, 3, 3), s, "f4")} for s in (0, 1)})

    with pytest.raises(MismatchError, match="none of its 12 layers is one of the run"):
        graph_from(two_branches(tmp_path / "net.onnx"), run.layers)
    with pytest.raises(SourceError, match="there is no such model file"):
        graph_from(tmp_path / "nowhere.onnx", run.layers)


@pytest.mark.parametrize("ending", ["svg", "png", "html", "dot"])
def test_it_is_written_in_every_form(of_models: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"net.{ending}"

    said(of_models, "-o", out, "--by", "mean", "--at", 1, "--unfold")

    heads = {"png": b"\x89PNG", "dot": b"digraph", "html": b"<!doctype html>"}
    assert heads.get(ending, b"<?xml") in out.read_bytes()[:200]
    if ending in ("svg", "dot"):
        text = out.read_text()
        assert all(name.rpartition(".")[2] in text for name in TWELVE)
    if ending == "dot":
        assert text.count("->") == len(aw.open_analysis(of_models).graph.edges)


def test_colours_of_the_figure_are_those_of_the_scale(of_models: Path, tmp_path: Path) -> None:
    analysis = aw.open_analysis(of_models)
    said(of_models, "-o", tmp_path / "net.svg", "--by", "mean", "--at", 1, "--unfold")

    _, values = layer_numbers(analysis.shown, analysis.probes, "mean")
    scale = graph_scale(values, "magma")
    text = (tmp_path / "net.svg").read_text()
    for number in values[:, 1]:
        red, green, blue = scale.colours[scale.entries(number)].tolist()
        assert f"fill: #{red:02x}{green:02x}{blue:02x}" in text


def test_a_number_that_a_probe_found_is_a_colour(tmp_path: Path) -> None:
    path = stored_results(tmp_path / "run.accw")
    analysis = aw.open_analysis(path)
    name = next(iter(probe_metric_names(analysis.probes)))

    said(path, "-o", tmp_path / "net.svg", "--by", name, "--at", 10)

    _, values = layer_numbers(analysis.shown, analysis.probes, name)
    scale, text = graph_scale(values, "magma"), (tmp_path / "net.svg").read_text()
    place = analysis.step_index(10)
    known = values[np.isfinite(values[:, place]), place]
    assert len(known) > 0
    for number in known:
        red, green, blue = scale.colours[scale.entries(number)].tolist()
        assert f"fill: #{red:02x}{green:02x}{blue:02x}" in text
    said(path, "-o", tmp_path / "net.html", "--by", name)
    assert f'"by":"{name}"' in (tmp_path / "net.html").read_text()


def test_numbers_of_both_signs_have_zero_in_the_middle() -> None:
    scale = graph_scale(np.array([[-2.0, 1.0], [0.0, np.nan]]), "magma")

    assert scale.signed
    assert scale.entries([-2.0, 0.0, 2.0, np.nan]).tolist() == [0, 127, 254, 255]


def test_numbers_that_are_alike_are_told_apart() -> None:
    scale = graph_scale(np.array([[0.9, 0.95], [0.92, 0.99]]), "magma")

    assert scale.entries([0.9, 0.99]).tolist() == [0, 254]


def test_a_module_of_many_layers_shows_the_largest_of_neighbours() -> None:
    values = np.zeros(100)
    values[57] = 1.0

    found = list(stripes(values, graph_scale(values[:, None], "grey")))

    assert len(found) == 24
    assert [at for at, colour in enumerate(found) if colour == (255, 255, 255)] == [57 // 5 + 2]


@pytest.mark.parametrize(
    "damaged",
    [
        {"format": 1, "origin": "x", "nodes": [], "edges": [[0, 1]]},
        {"format": 9, "origin": "x", "nodes": [], "edges": []},
        {"format": 1, "origin": "x", "nodes": [{"kind": "dog", "name": "a"}], "edges": []},
        [],
    ],
)
def test_a_damaged_graph_is_an_error_that_says_what_to_do(of_arrays: Path, damaged: Any) -> None:
    folder = of_arrays / "graph"
    folder.mkdir()
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"accweight_graph": damaged}}
    (folder / "zarr.json").write_text(json.dumps(document))

    with pytest.raises(StoreError, match=r"graph is damaged .*remove that folder"):
        _ = aw.open_analysis(of_arrays).graph
    aw.report(of_arrays, out=of_arrays.parent / "report.html")  # shows the rest


def test_a_link_in_place_of_the_graph_is_refused(of_arrays: Path, tmp_path: Path) -> None:
    (of_arrays / "graph").symlink_to(tmp_path)

    with pytest.raises(StoreError, match="is a link"):
        keep_graph(of_arrays, aw.open_analysis(of_arrays.parent / "run.accw").graph)


def test_other_endings_are_refused_by_name(of_models: Path, tmp_path: Path) -> None:
    given = ["graph", str(of_models), "-o", str(tmp_path / "net.jpg")]

    failure = CliRunner().invoke(application(), given).exception

    assert isinstance(failure, UnknownNameError)
    assert ".html or .dot" in str(failure)
