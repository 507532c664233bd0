"""GGUF, quantised or not."""
