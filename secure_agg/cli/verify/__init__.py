"""``secure-agg verify`` and ``model``: check a round or a proof of fault, and whose model a file holds."""
