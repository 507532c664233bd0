"""GGUF files, with and without quantisation."""
