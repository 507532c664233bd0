"""What a match rests on: names, shapes, order, stacks, values, parameters."""
