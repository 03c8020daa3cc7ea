"""One process that plays all roles: for simulation, and for the trust that its operator has anyway.

* ``aggregate``: a whole round in one call; ``asked`` is what it asks for, ``book`` where it is written down.
* ``trees``: the same over edges, each of them a round; ``tree_round`` carries their messages.
* ``buffered``: rounds over updates from models of different age, one after another.
* ``rounds``: carries messages between roles. ``report``: what that has cost.
* ``clips``: what clients agree to clip at, by a round of counts.
* ``hosting``: clients that live with an executor's workers.
* ``draws``: which pulse draws a cohort; ``pulses``: where it is found.
* ``staff``: the operators of a round. ``dealing``: makes keys of committees. ``keystore`` keeps keys in files.
"""
