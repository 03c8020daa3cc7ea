"""A session of which a client sees its own neighbourhood: where a cohort is so large that clients choose their peers.

The cohort is pinned, and with it a position for each of its members. Who advertised is a bit for each position and the
root of a tree over all of them, in which whoever is absent has a constant leaf; the session follows from both. So a
position holds what its own member has signed, or can't be shown, and a member has one position, whatever it signs.

* ``wire``: what is sent in place of whole lists. ``roll``: bitmaps, and what is known by position.
* ``opening``: a session from its roll, and advertisements shown by their paths.
"""
