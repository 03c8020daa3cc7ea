"""The suite ``ledger``: appends, proofs and gas.

``suite`` is the order of its rows; ``append``, ``proofs`` and ``gas`` measure.
"""
