"""ONNX: layers, kinds and weights of a graph, whatever exported it."""
