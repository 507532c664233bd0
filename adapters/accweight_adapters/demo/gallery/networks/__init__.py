"""The small networks of the gallery: a module each, with data that are generated or come along."""
