"""The 3D viewer of accweight: every layer is a textured plate that brightens as it moves.

The viewer reads stored analyses only; it never imports torch and never writes to an analysis.
"""
