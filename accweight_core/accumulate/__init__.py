"""Two ways of adding up change: over files, block by block; and live, step by step.

Both call the same kernels on the same sub-blocks, so both give the same bits.
"""
