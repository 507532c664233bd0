"""One training run, saved by every framework: one ranking, the same figures, the same pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from twins import EXACT, NETWORKS, SAVERS, STEPS, trained, write_twin

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.metrics.table import METRICS
from accweight_core.schema import Layer, Parameter, Role

OTHER_NAMES = {"attention.attention_output": "attention.out"}
"""Layers that a framework calls by its own names, and PyTorch's names."""

COMBINATIONS = [(network, kind) for network in NETWORKS for kind in SAVERS if kind != "PyTorch"]


@cache
def reference(network: str, folder: Path) -> Analysis:
    """The analysis of PyTorch's own checkpoints."""
    return analysed(network, "PyTorch", folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twins")


def analysed(network: str, kind: str, home: Path) -> Analysis:
    folder = write_twin(trained(network), home / network / kind, kind)
    run = aw.open_run(folder)
    assert list(run.steps) == list(range(STEPS))
    return aw.analyze(run, out=home / network / f"{kind}.accw")


def own_name(layer: str) -> str:
    return OTHER_NAMES.get(layer, layer)


def weights_of(layer: Layer) -> list[Parameter]:
    return [p for p in layer.parameters if p.role in (Role.WEIGHT, Role.EMBEDDING)]


@pytest.mark.parametrize(("network", "kind"), COMBINATIONS)
def test_a_run_gives_one_ranking_and_one_picture_whatever_the_format(
    network: str, kind: str, home: Path
) -> None:
    expected = reference(network, home)

    analysis = analysed(network, kind, home)

    for metric in METRICS:
        assert_same_ranking(analysis, expected, metric)
    assert_same_figures(analysis, expected, exact=kind in EXACT)
    assert_same_pictures(analysis, expected)


def assert_same_ranking(analysis: Analysis, expected: Analysis, metric: str) -> None:
    """Ties are broken by network order, which formats that sort names do not keep."""
    ours, theirs = (each.ranking(by=metric) for each in (analysis, expected))
    values = dict(zip(theirs["layer"], theirs[metric], strict=True))
    names = [own_name(name) for name in ours["layer"]]
    assert sorted(names) == sorted(values)
    assert list(ours["kind"]) == [
        dict(zip(theirs["layer"], theirs["kind"], strict=True))[name] for name in names
    ]
    ranked = [values[name] for name in names]
    np.testing.assert_allclose(ranked, theirs[metric], rtol=1e-9, atol=1e-12)


def assert_same_figures(analysis: Analysis, expected: Analysis, *, exact: bool) -> None:
    theirs = {row.name: row for row in expected.measured("layer")}
    for row in analysis.measured("layer"):
        other = theirs[own_name(row.name)]
        assert (row.kind, row.elements) == (other.kind, other.elements)
        for metric, series in row.metrics.items():
            if exact:
                np.testing.assert_array_equal(series, other.metrics[metric], metric)
            else:
                np.testing.assert_allclose(
                    series, other.metrics[metric], rtol=1e-6, atol=1e-12, err_msg=metric
                )


def assert_same_pictures(analysis: Analysis, expected: Analysis) -> None:
    theirs = {layer.name: layer for layer in expected.layers}
    for layer in analysis.layers:
        ours, others = weights_of(layer), weights_of(theirs[own_name(layer.name)])
        assert len(ours) == len(others)
        pairs = zip(in_order(analysis, ours), in_order(expected, others), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(picture(analysis, one), picture(expected, other))
            assert [s.name for s in analysis.layout(one.name).sections] == [
                s.name for s in expected.layout(other.name).sections
            ]


def in_order(analysis: Analysis, parameters: list[Parameter]) -> list[Parameter]:
    """The matrices of a layer by the size of their pictures: formats may sort names."""
    layouts = {p.name: analysis.layout(p.name) for p in parameters}
    return sorted(parameters, key=lambda p: (layouts[p.name].rows, layouts[p.name].cols))


def picture(analysis: Analysis, parameter: Parameter) -> np.ndarray:
    assert analysis.store is not None
    index = analysis.parameter_index(parameter.name)
    array = analysis.store.picture_array(index, analysis.store.header.picture_bases[index])
    values: np.ndarray = array[0 : array.shape[0], 0 : array.shape[1], 0 : array.shape[2]]
    assert values.any()
    return values


def test_the_table_of_formats_names_every_one_that_is_compared() -> None:
    text = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")

    for kind in SAVERS:
        assert f"| {kind} |" in text
