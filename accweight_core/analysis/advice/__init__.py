"""Advice on a run: what its numbers suggest, with evidence and a way to test each suggestion.

`rules` is the list of rules, as data: what each says, from which threshold on, from which source,
and what would refute it. `cases` finds where a rule holds; `facts` are the numbers it may use;
`advise` puts them together.
"""
