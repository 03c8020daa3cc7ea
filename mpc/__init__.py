"""Multi-party computation building blocks: everything that hides, nothing that proves.

* ``ring``: the ring Z_p that data, masks, shares and commitments have in common.
* ``ntt``: its negacyclic number-theoretic transform of length 512.
* ``keystream``: key derivation and the AES-CTR stream that is uniform modulo p.
* ``masks``: adding and removing many mask streams at once.
* ``shamir``: threshold sharing of 32-byte secrets over Z_p.
* ``keys``: X25519 key agreement, sealed channels, key confirmation.
* ``graph``: who masks with whom, and the thresholds that follow from stated bounds.
* ``paillier``, ``paillier_packing``, ``paillier_phe``: Paillier, vectors in packed slots, exchange with ``phe``.
* ``threshold_paillier``: a Paillier key that any t of its members decrypt with.
* ``montgomery``: the modular arithmetic of encryption, on all cores.
* ``framing``, ``parallel``: one injective encoding of labelled bytes; chunks of work on all cores.
* ``compiling``: says what numba compiles, where it takes long.

The package knows neither commitments nor federated learning.
"""
