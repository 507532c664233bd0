"""Callbacks that track the change of a model within training frameworks, one module each.

A module imports its framework, which its users have, so nothing else imports these modules. The
callbacks decide nothing: they tell a `ChangeTracker` when, with which model, step and figures.
"""
