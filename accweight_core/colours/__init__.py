"""Colours that the viewer, figures and pages share: maps of change, themes, pictures as PNG."""
