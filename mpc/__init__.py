"""Multi-party computation building blocks: everything that hides, nothing that proves.

* ``ring``: the ring Z_p that data, masks, shares and commitments have in common.
* ``ntt``: its negacyclic number-theoretic transform of length 512.
* ``keystream``: key derivation and the AES-CTR stream that is uniform modulo p.
* ``masks``: adding and removing many mask streams at once.
* ``shamir``: threshold sharing of 32-byte secrets over Z_p. ``vector_shares``: sharing of long vectors, compressed.
* ``keys``: X25519 key agreement, sealed channels, key confirmation.
* ``graph``: who masks with whom, and the thresholds that follow from stated bounds.
* ``paillier``: Paillier, vectors in packed slots, threshold keys.
* ``digits``, ``words``: several small integers in one element; 64-bit words.
* ``framing``, ``parallel``: one injective encoding of labelled bytes; chunks of work on all cores.
* ``kernels``: loops that numba compiles where it is installed. ``optional``: packages that only some need.

The package knows neither commitments nor federated learning.
"""
