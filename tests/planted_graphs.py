"""ONNX models and graphs with known edges between their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import accweight_core as aw
from accweight_core.graphs.layer_graph import LayerGraph, Node

WIDTH = 3


def value(name: str, shape: Sequence[Any] = ("n", WIDTH), kind: int = TensorProto.FLOAT) -> Any:
    """Return an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def weights(names: Sequence[str], seed: float = 0) -> list[Any]:
    """Return square weights, each unlike the others."""
    made = np.random.default_rng(0).standard_normal((len(names), WIDTH, WIDTH)) + seed
    return [
        numpy_helper.from_array(one.astype(np.float32), f"{name}.weight")
        for name, one in zip(names, made, strict=True)
    ]


def dense(layer: str, taken: str, made: str) -> Any:
    """Return a layer without bias."""
    return helper.make_node("MatMul", [taken, f"{layer}.weight"], [made])


def model(
    path: Path,
    nodes: Sequence[Any],
    layers: Sequence[str],
    *,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    seed: float = 0,
) -> Path:
    """Write a model from x to y; return its path."""
    graph = helper.make_graph(
        list(nodes),
        "planted",
        list(inputs) or [value("x")],
        list(outputs) or [value("y")],
        initializer=weights(layers, seed),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path)
    return path


def two_branches(path: Path, seed: float = 0) -> Path:
    """Write a network with a residual and two branches: 12 layers in three modules."""
    op = helper.make_node
    nodes = [
        dense("stem", "x", "a"),
        dense("left.0", "a", "l0"), op("Relu", ["l0"], ["l1"]), dense("left.1", "l1", "l2"),
        op("Add", ["l2", "a"], ["l3"]), dense("left.2", "l3", "l4"),
        dense("right.0", "a", "r0"), dense("right.1", "r0", "r1"), dense("right.2", "r1", "r2"),
        op("Concat", ["l4", "r2"], ["c0"], axis=0),
        dense("body.0.fc1", "c0", "b0"), dense("body.0.fc2", "b0", "b1"),
        dense("body.1.fc1", "b1", "b2"), dense("body.1.fc2", "b2", "b3"),
        dense("head", "b3", "y"),
    ]  # fmt: skip
    return model(path, nodes, TWELVE, seed=seed)


TWELVE = (
    "stem", "left.0", "left.1", "left.2", "right.0", "right.1", "right.2",
    "body.0.fc1", "body.0.fc2", "body.1.fc1", "body.1.fc2", "head",
)  # fmt: skip

TWELVE_EDGES = {
    ("x", "stem"), ("stem", "left.0"), ("left.0", "left.1"), ("left.1", "left.2"),
    ("stem", "left.2"), ("stem", "right.0"), ("right.0", "right.1"), ("right.1", "right.2"),
    ("left.2", "body.0.fc1"), ("right.2", "body.0.fc1"), ("body.0.fc1", "body.0.fc2"),
    ("body.0.fc2", "body.1.fc1"), ("body.1.fc1", "body.1.fc2"), ("body.1.fc2", "head"),
    ("head", "y"),
}  # fmt: skip


def run_of_twelve(folder: Path, *, onnx_steps: bool = True) -> Path:
    """Analyse three steps in which layer k moves by about k; return the analysis.

    Args:
        folder: Where checkpoints and analysis are written.
        onnx_steps: Whether checkpoints are models, which have a graph, or arrays, which have none.
    """
    source = folder / "checkpoints"
    source.mkdir()
    for step in range(3):
        if onnx_steps:
            path = two_branches(source / f"net_{step}.onnx")
            made = onnx.load(path)
            for number, tensor in enumerate(made.graph.initializer):
                moved = numpy_helper.to_array(tensor) + np.float32(0.1 * step * (number + 1))
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
            onnx.save(made, path)
        else:
            start = np.ones((WIDTH, WIDTH), np.float32)
            arrays = {
                f"{name}.weight": start + np.float32(0.1 * step * (number + 1))
                for number, name in enumerate(TWELVE)
            }
            np.savez(source / f"net_{step}.npz", **arrays)
    aw.analyze(source, folder / "run.accw")
    return folder / "run.accw"


def transformer(blocks: int) -> LayerGraph:
    """Return the graph of a transformer with residuals, six layers a block."""
    nodes: list[Node] = [Node("layer", "embed")]
    edges: list[tuple[int, int]] = []

    def add(node: Node, *sources: int) -> int:
        nodes.append(node)
        edges.extend((source, len(nodes) - 1) for source in sources)
        return len(nodes) - 1

    stream = 0
    for block in range(blocks):
        module = f"encoder.layer.{block}"
        three = [add(Node("layer", f"{module}.attention.{part}"), stream) for part in "qkv"]
        mixed = add(Node("join", "x", f"{module}.attention"), *three)
        out = add(Node("layer", f"{module}.attention.out"), mixed)
        stream = add(Node("join", "+", module), stream, out)
        inner = add(Node("layer", f"{module}.mlp.0"), stream)
        stream = add(
            Node("join", "+", module), stream, add(Node("layer", f"{module}.mlp.2"), inner)
        )
    add(Node("layer", "head"), stream)
    return LayerGraph(tuple(nodes), tuple(edges), "planted")


def pairs_when_folded(graph: LayerGraph, shown: Mapping[int, int]) -> set[tuple[int, int]]:
    """Return the pairs of cards that edges join, from the definition."""
    return {(shown[a], shown[b]) for a, b in graph.edges if shown[a] != shown[b]}
