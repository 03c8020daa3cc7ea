"""The suite ``scale``: whole rounds beside what the planner says of them.

``suite`` is the order of its rows, ``round`` one round with a meter at every role.
"""
