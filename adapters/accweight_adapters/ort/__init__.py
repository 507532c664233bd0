"""Checkpoints of ONNX Runtime training."""
