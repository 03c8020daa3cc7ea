"""``secure-agg federation``: what makes homes, and, from ``epochs``, what changes a task that is running.

* ``whole``: the group with all of its commands.
* ``homes``: ``init``, ``join`` and ``model``. ``groups``: an option of theirs.
"""
