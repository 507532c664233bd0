"""Compiled loops: the fused step, free of the interpreter."""
