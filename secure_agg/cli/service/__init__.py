"""``secure-agg serve`` and ``secure-agg client``: rounds over HTTPS.

* ``serve``: the coordinator of any number of tasks. ``client``: a member that takes part.
"""
