"""The suite ``core``: what verification costs a client and an aggregator, kernel by kernel.

``suite`` is the order of its rows; ``kernels`` has the kernels, ``norm`` the norm proofs, ``client`` and
``aggregation`` the two sides of a real round, ``bounded`` what a norm bound adds to it, ``screening`` a client whose
input is screened, ``memory`` peaks in fresh processes.
"""
