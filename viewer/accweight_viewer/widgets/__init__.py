"""Small widgets for panes and scenes; they know nothing about layers and files."""
