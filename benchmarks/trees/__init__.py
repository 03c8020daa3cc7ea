"""The suite ``trees``: what one client of a tree receives and computes, whose clients are very many.

``suite`` is the order of its rows. ``world`` is a tree of which one edge is played in full; of the others there are
the records, of made-up sums and signed by as many members, which is all that a client of one edge sees of another.
``whole`` plays every edge of one, for the suite ``scale``.
"""
