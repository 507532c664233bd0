"""Compiled loops of the fused step, which run without the interpreter lock."""
