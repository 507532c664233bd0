"""Figures of the results of probes, by the axes of their arrays."""
