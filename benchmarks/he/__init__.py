"""The suite ``he``: homomorphic backends and what they are made of, beside TenSEAL and ``phe`` themselves.

``suite`` is the order of its rows, ``options`` what it is run with. ``lattice`` and ``paillier`` have the schemes,
``committee`` a key that three members share, ``memory`` the peaks, ``plot`` the picture.
"""
