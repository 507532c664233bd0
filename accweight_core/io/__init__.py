"""Reading: bytes of local and remote files into buffers that are used again."""
