"""Keys that were made elsewhere, read without the libraries that made them.

* ``phe_keys``: Paillier keys of python-paillier, as objects and as its command ``pheutil`` writes them.
* ``contexts``: TenSEAL's contexts. Of a context only the key is taken over: what else it holds, scale, flags and keys
  for products and rotations, follows from the round or is not needed.
* ``weak``: lattice keys that anybody finds from their public half.
* ``rings``: which ring a context is for, how a policy names it, and what sums fit into it.
"""
