"""``secure-agg federation``: what makes homes, and, from ``epochs``, what changes a task that is running.

* ``whole``: the group with all of its commands.
* ``homes``: ``init``; ``groups``: an option of it. ``joining``: ``join``. ``last_model``: ``model``.
* ``models``: the options that say which models nodes train on.
"""
