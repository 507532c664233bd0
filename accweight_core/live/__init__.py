"""Live: the same sums while a model trains, one step at a time, on its own device."""
