"""Read local and remote files into reused buffers."""
