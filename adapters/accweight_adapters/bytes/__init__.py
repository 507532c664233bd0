"""Bounded access to the bytes of files: windows, cursors, varints, protobuf, zips, compression."""
