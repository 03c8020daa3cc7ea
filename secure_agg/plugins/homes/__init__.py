"""What a node and a server keep on their own disks, and believe.

``home`` has both kinds, ``federation`` makes all of one federation, ``journal`` is of the attempt under way,
``chain`` of the models so far.
"""
