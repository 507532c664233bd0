"""The walk over files: blocks of a parameter through all checkpoints, sums added in order."""
