"""ONNX: layers, kinds and weights of a graph, from any exporter."""
