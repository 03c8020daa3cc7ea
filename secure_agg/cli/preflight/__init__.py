"""``secure-agg check``: what a policy or a home would be worth, before it begins.

* ``check``: the command. ``shown``: its report for people.
"""
