"""JAX: Orbax folders, msgpack of Flax, and what the variables of Flax mean."""
