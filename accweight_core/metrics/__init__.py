"""Metrics: their definitions, and how partial sums are merged into them."""
