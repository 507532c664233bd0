"""Binding: the weights of a checkpoint of any format, put into a network, with a proof."""
