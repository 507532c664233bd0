"""Figures of an analysis, drawn by Matplotlib: ranking, curves, heatmap, pictures of the layers.

`plots` is what `Analysis.plot` returns; each figure has a module, and `page` has what they share:
size, typography, colours. Nothing here uses pyplot, so no global state is read or changed.
"""
