"""A round inside any framework: payloads in, payloads out.

* ``participant``: a node's side; ``node``: what it keeps, checks and takes in. ``training``: what its work comes to.
* ``coordinator``, ``phases``: the server's; ``server``: what it keeps and decides around its attempts.
* ``hello``, ``parcels``: who a node is, and how payloads are packed.
* ``epochs``: how nodes close one and follow the next.
* ``instructions``: what apps are given, as one digest. ``metrics``: scalars inside the hidden vector.
* ``versions``: of the frameworks.
"""
