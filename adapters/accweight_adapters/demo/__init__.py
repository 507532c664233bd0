"""The demo: the published experiment on the digits of scikit-learn."""
