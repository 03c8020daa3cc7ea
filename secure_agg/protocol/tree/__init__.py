"""What is said and signed in a tree: a round over edges, each of which is a round over its own members.

* ``forest``: all edges' sessions, which everybody's commitments are fixed in before anybody's is shown.
* ``record``: what an edge's members sign of it; seals, under which records are kept until all are fixed.
* ``evidence``: the top round with its edges' records, in one file.
"""
