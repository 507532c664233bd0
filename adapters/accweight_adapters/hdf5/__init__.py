"""HDF5, as far as weights lie in it."""
