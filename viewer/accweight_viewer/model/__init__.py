"""What the viewer shows, without a window: runs, time, selection, colours, places, camera.

Nothing here knows Qt or OpenGL. The model emits, panes follow: whoever changes something calls
`Session`, and every pane hears of it through one of the session's signals.
"""
