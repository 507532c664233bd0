"""Files of Keras 2 and 3, and the meaning of their variables."""
