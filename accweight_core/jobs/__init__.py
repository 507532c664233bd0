"""Jobs: a run measured into a store, by threads or by workers of a cluster."""
