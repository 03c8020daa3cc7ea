"""Public randomness that draws cohorts: pulses of a beacon in the format of drand, verified under a pinned key.

* ``pulse``: one pulse, its number, signature and randomness, and how it is written down.
* ``source``: which beacon a task draws by, and which of its pulses draws which cohort.
* ``recorded``: pulses in files, and chains of one's own for rehearsals.

Whoever leads a round fetches the pulse, from wherever; everybody else is given it in the round's configuration and
verifies it. So nobody but the beacon chooses a cohort, and nobody but the leader needs a connection to it.
"""
