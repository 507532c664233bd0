"""The scene in 3D: plates as tiles of a texture, names beside them, the camera on keys."""
