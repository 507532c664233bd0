"""Readers: one small file per checkpoint format, each describing where the weights lie.

A reader never loads weights and never runs anything from a file; `accweight_core` reads the
bytes. Each is registered by entry point and passes `accweight_core.testing.ReaderContract`.
"""
