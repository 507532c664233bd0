"""The 3D viewer of accweight: every layer as a textured plate, brightening as it moves.

The viewer reads a stored analysis and nothing else; it never imports torch and never writes.
"""
