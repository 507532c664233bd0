"""Pictures: how a parameter becomes a two-dimensional image; geometry, no files."""
