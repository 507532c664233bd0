"""Evidence for matches: names, shapes, order, merged layers, values, parameters."""
