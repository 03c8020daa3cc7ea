"""Paillier's cryptosystem on vectors of small integers.

``paillier`` has keys and encryption, ``montgomery`` its arithmetic on all cores, ``packing`` vectors in slots,
``threshold`` keys that any t of their members decrypt with, ``phe`` the exchange with the package of that name.
"""
