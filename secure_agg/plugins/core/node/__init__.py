"""What a node keeps, checks and takes in, of any framework's rounds; ``participant`` puts it together.

* ``terms``: whether a round is one that this node may be asked to join. ``guard``: over which models.
* ``under_way``: the attempt that the node is in, from its beginning to its end.
* ``believed``: results, verified. ``intake``: how large what comes may be.
"""
