"""Runs: files to checkpoints in step order, with the same parameters in each."""
