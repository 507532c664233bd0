"""The panes around the scene: table, windows, timeline, controls. Thin: the model decides."""
