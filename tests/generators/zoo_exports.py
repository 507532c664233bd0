"""Writes `tests/data/zoo`: networks as torch's newer exporter writes them, and what they compute.

That exporter takes seconds per network, so its files are kept in the repository instead of written
by tests. To write them anew, in an environment with torch and onnxscript::

    PYTHONPATH=tests python tests/generators/zoo_exports.py tests/data/zoo
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from zoo import ZOO, export, network

KEPT = ("pkg.torch.onnx.name_scopes", "pkg.onnxscript.rewriter.rule_name")
"""Notes on nodes that the reader uses; the others, stack traces for one, are most of a file."""


def strip(path: Path) -> None:
    """Take out notes of the exporter that nobody reads."""
    model = onnx.load(path)
    for node in model.graph.node:
        kept = {entry.key: entry.value for entry in node.metadata_props if entry.key in KEPT}
        del node.metadata_props[:]
        for key, value in kept.items():
            node.metadata_props.add(key=key, value=value)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    onnx.save(model, path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ZOO:
        net, samples = network(name)
        strip(export(net, samples, folder / f"{name}.onnx", dynamo=True))
        x = samples.clone().requires_grad_()
        y = net(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        values = {"x": samples, "y": y.detach(), "gradient": gradient}
        np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in values.items()})
