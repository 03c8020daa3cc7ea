"""Statistics without a model inside any framework: a server asks its nodes, by the rounds that it trains in.

* ``asking``: the server's half, a ``Federation`` of ``secure_agg.stats``.
* ``answering``: a node's: its own table, by its owner's rules.
"""
