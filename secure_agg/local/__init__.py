"""One process that plays all roles: for simulation, and for the trust that its operator has anyway.

``rounds`` has ``aggregate``; ``keystore`` keeps keys in files, ``dealing`` makes those of committees.
"""
