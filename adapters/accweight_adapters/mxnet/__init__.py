"""Lists of arrays of MXNet."""
