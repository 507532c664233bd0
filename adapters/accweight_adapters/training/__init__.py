"""``accweight train``: train an ONNX model with ONNX Runtime, with a checkpoint per epoch."""
