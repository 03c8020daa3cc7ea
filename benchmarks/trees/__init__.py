"""The suite ``trees``: what one client of a tree receives and computes, whose clients are very many.

``suite`` is the order of its rows. ``world`` is a tree of which one edge is played in full; others are made with the
real roles, but that their members sign without looking.
"""
