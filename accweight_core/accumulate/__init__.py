"""The block walk over files: each block goes through all checkpoints, then its sums are merged."""
