"""What Keras 2 and 3 save, and what its variables mean."""
