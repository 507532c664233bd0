"""JAX: Orbax folders, Flax msgpack files, and the meaning of Flax variables."""
