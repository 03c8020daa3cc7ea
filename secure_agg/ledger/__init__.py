"""The append-only log of verified rounds: a Merkle tree on SQLite, its signed heads, and proofs against them.

Nothing is imported here: identities hash their roster with ``merkle``, and the log needs identities.
"""
