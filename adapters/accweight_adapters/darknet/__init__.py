"""Weights of Darknet."""
