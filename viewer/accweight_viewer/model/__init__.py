"""The model of the viewer, without Qt or OpenGL: runs, time, selection, colours, camera.

Changes go through `Session`, which emits signals; panes listen to these signals.
"""
