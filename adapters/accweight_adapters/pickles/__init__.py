"""Pickles, interpreted symbolically: nothing in them is imported, called or built."""
