"""NumPy archives and arrays."""
