"""``secure-agg stats``: statistics of several sites' tables, without a model.

* ``asking``: the commands. ``sites``: whom they ask, files in this process or a service's members.
"""
