"""What a party must not forget, also over a crash.

* ``store`` keeps it on disk.
* ``attempt``: what a client is bound to within one attempt. ``bonds``: across them. ``edges``: in a tree.
* ``results``: what a client has verified that its rounds may follow from. ``bases``: the models that it has computed
  itself for buffered rounds, and used. ``spending``: of a privacy budget.
* ``convictions``: who is proved to have broken the protocol.
* ``epochs``: which of those a party has authorised and closed. ``followed``: the epochs that a node or an operator has
  gone on by.
* ``seats``: what an operator is bound to in a round, and what it has answered. ``rounds``: what an aggregator has of
  one, until it is finished.
"""
