"""The graph of a network: which layer takes what other layers make.

`layer_graph` is the plain description, `contracting` makes one from operators, whatever format they
come from; `modules` puts layers into the modules that their names tell of, for folding; `layout`
says where each is drawn. Nothing here knows a file, a run or a screen.
"""
