"""Homomorphic backends: clients encrypt under a key holder's public key, the aggregator adds ciphertexts.

* ``backend``: what they have in common. ``scheme``: what they ask of an encryption scheme.
* ``coordinates``: which numbers the lattice schemes encrypt.
* ``paillier_scheme``: Paillier, with one key holder or a committee.
* ``lattice_backend``: BFV and CKKS as backends; ``lattice`` the scheme, ``lattice_parameters`` and ``lattice_keys``
  what it is set up with, ``lattice_pool`` and ``lattice_worker`` encryption on all cores.
* ``brought``: keys that were made elsewhere, and the rings that lattice keys are for.
* ``lattice_wire``: bytes of their ciphertexts; ``seal_format`` reads what SEAL writes before SEAL may see it.
"""
