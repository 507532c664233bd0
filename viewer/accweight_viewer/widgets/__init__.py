"""Small parts that panes and scenes are built of; they know nothing of layers and files."""
