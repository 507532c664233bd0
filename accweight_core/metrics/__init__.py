"""Metrics: what is measured of a parameter, how partial sums merge, and what they mean."""
