"""Run networks: an ONNX graph by torch operations or by ONNX Runtime, or a module of torch."""
