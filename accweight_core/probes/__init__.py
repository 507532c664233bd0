"""Probes: what the network of a run does at every checkpoint, not only how its weights moved."""
