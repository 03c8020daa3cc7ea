"""``secure-agg verify`` and ``model``: check a round or a proof of fault, and whose model a file holds.

``verify`` checks evidence, ``fault`` a proof of fault, ``tree`` that of rounds over edges, ``model``
compares files with records.
"""
