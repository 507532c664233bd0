"""The rooms of alignment: names, shapes, order, stacks, values, parameters."""
