"""Samples and their targets, from files, for what trains or runs a network."""
