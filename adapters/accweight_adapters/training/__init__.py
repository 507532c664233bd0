"""``accweight train``: an ONNX model trained by ONNX Runtime, a checkpoint per epoch."""
