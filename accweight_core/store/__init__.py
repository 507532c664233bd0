"""The analysis on disk: ``NAME.accw``, a Zarr v3 group."""
