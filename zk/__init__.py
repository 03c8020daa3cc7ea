"""Commitments and proofs: everything that proves, nothing that hides an update in transit.

* ``transcript``: domain-separated hashing of whole statements.
* ``commitment``: the hiding, homomorphic lattice hash C = h(x ‖ s).
* ``parameters``: how secure a setting is; weak ones are refused.
* ``functional``: random linear functionals of the commitment, evaluated on vectors and on masks. ``sketch_functional``:
  of the part of the sketch's commitment that takes R.
* ``aggregate``: the statement "X ‖ T is the sum of what C_1 … C_n commit to", and its check.
* ``norm``: that every vector of a sum was short, and its weight in range.
* ``merkle``: the trees of RFC 9162, their proofs and the checks of these.
* ``kzg``: KZG commitments over BLS12-381 with Ethereum's powers of τ.
* ``bls``: BLS signatures over BLS12-381, the short ones.
* ``partial_decryption``: the statement "these are this member's partial decryptions", and its proof.

The package knows neither rounds nor backends nor federated learning.
"""
