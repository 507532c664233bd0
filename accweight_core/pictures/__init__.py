"""Pictures: the mapping from parameters to two-dimensional images. Geometry only, no files."""
