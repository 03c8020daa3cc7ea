"""What rounds with differential privacy say, and what they have spent.

* ``claim``: of one round, as numbers and in words. ``spending``: of the rounds of a log, added up again.
"""
