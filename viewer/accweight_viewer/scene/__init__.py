"""The 3D scene: plates as tiles of a texture, labels, camera control."""
