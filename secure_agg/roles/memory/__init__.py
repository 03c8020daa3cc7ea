"""What a party must not forget, also over a crash.

``store`` keeps it on disk, ``attempt`` is what a client is bound to within one attempt, ``bonds`` across them, and
``epochs`` which of those it has authorised and closed. ``seats``: what an operator is bound to in a round, and what it
has answered. ``bases``: the models that a client has computed itself. ``spending``: of a privacy budget.
``followed``: the epochs that a node or an operator has gone on by. ``rounds``:
what an aggregator has of one, until it is finished.
"""
