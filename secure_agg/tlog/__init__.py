"""The formats of transparency logs (C2SP), without a disk and without rounds.

* ``note``: signed notes and verifier keys. ``checkpoint``, ``head``: a log's signed tree heads.
* ``cosignature``, ``policy``: what witnesses sign, and how many of them have to.
* ``proof``: inclusion and consistency, checked. ``receipt``: a record's inclusion as a tlog-proof.
* ``tiles``: a log as static files.
"""
