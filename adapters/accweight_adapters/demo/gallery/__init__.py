"""The gallery: systems that people learned from, re-created on small networks with a known truth.

`networks` has a module per network, `systems` one per system; `building` trains, analyses and
probes whatever the systems ask for, and `page` writes what they show as one page.
"""
