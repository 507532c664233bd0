"""The panes around the scene: table, picture windows, timeline, controls. They show the model."""
