"""A round inside any framework: payloads in, payloads out.

* ``participant``: a node's side; ``training`` is what its work comes to. ``coordinator``, ``phases``: the server's.
* ``deadlines``: how long nodes have to answer.
* ``hello``, ``parcels``: who a node is, and how payloads are packed.
* ``epochs``: how nodes close one and follow the next.
* ``guard``, ``history``: which models a node works on, and what it is shown of what it has missed.
* ``instructions``: what apps are given, as one digest. ``metrics``: scalars inside the hidden vector.
* ``aborts``: the server's journal of rounds that came to nothing. ``unfinished``: what it keeps
  of those that may still be finished. ``versions``: of the frameworks.
"""
