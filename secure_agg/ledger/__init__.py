"""The append-only log of verified rounds: a Merkle tree on SQLite, its signed heads, and proofs against them.

* ``log``: the class Ledger, which writes. ``reader``: what can be read and proved. ``place``: where the files lie.
* ``tables``, ``database``, ``connection``: the SQLite file. ``evidence_store``: large files beside it.
* ``chain``: what a record has to follow on.
* ``approval``, ``released``: small files that let an append which was cut short be finished, and show a rollback.
* ``faults``: proofs of fault, and whom they keep out of a task.
* ``audit``: everything that a log claims, recomputed. ``checkpoint_time``: when a record came under a checkpoint.
* ``publish``: static files. ``witness``: those who keep it to one history. ``fsck``: repair. ``evm``: on a chain.
"""
