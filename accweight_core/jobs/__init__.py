"""Jobs: analyse a run with threads of this process or workers of a cluster, and store it."""
