"""``secure-agg ledger …``: read, audit, publish and repair a ledger, and have it witnessed and anchored.

* ``ledger``: the group, and the commands that only look.
* ``explore``: its page in the browser, ``secure-agg explore``.
* ``audit``, ``fsck``, ``publish``, ``anchor``: a command each. ``receipts``: what is handed to offline verifiers.
* ``exclusion``: what a kept receipt of an input shows. ``dispute``: challenges and answers on a chain.
* ``timeline``: who was there in which phase of a round. ``timeline_chart``: its picture.
* ``rounds``: which round of a ledger a command is about.
* ``witnesses``: being a witness, asking some, and proofs of two histories.
"""
