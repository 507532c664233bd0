"""Rewind: what is lost when one layer is put back to an earlier step."""
