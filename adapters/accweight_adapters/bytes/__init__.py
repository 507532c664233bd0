"""Bytes of files, read within bounds: windows, cursors, varints, protobuf, zips, compression."""
