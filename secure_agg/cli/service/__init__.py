"""``secure-agg serve``, ``client`` and ``trust``: rounds over HTTPS.

* ``serve``: the coordinator of any number of tasks. ``client``: a member that takes part.
* ``trust``: what is pinned, and its fingerprint.
"""
