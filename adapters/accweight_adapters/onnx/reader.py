"""The reader of ONNX models; its parser and the onnx library are imported on first use."""

from __future__ import annotations

from pathlib import Path

from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.schema import Description


class OnnxReader:
    """Reads ONNX models, weights inline or external."""

    name = "onnx"
    suffixes = (".onnx",)

    def recognises(self, path: Path) -> bool:
        """Tell whether a file starts like an ONNX model, whatever its name."""
        from accweight_adapters.onnx.wire import recognised

        return recognised(path)

    def describe(self, path: Path) -> Description:
        """Describe a model: its parameters by layer, in network order.

        Raises:
            FormatError: If the model is damaged, contradicts itself, or points outside its folder.
        """
        from accweight_adapters.onnx.description import described

        return described(path)

    def graph(self, path: Path) -> LayerGraph:
        """Return the graph of a model with its layers as nodes.

        Raises:
            FormatError: If the model is damaged, or its graph is too large.
        """
        from accweight_adapters.onnx.dataflow import layer_graph

        return layer_graph(path)
