"""The parties of a tree: rounds over edges, each of which is a round over its own members.

* ``pins``: a tree as a trust file holds it, and each edge's part of it.
* ``member``: a client of an edge. ``edge``: who leads an edge's round. ``operator``: the same party where it takes part
  in the top round. ``top``: who leads that.
* ``auditor``: checks a tree's evidence, with as many of its edges as are at hand. ``faults``: what can be proved of an
  edge's operator. ``shared``: for simulations, what members of one process have checked for each other.
"""
