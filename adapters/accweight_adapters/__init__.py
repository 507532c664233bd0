"""Readers: one module or package per checkpoint format; each says where the weights are stored.

A reader never loads weights and never runs anything from a file; `accweight_core` reads the
bytes. Each is registered by entry point and passes `accweight_core.testing.ReaderContract`.

Beside them are the commands that train, and `callbacks` for training frameworks.
"""
