"""``secure-agg federation propose``, ``approve`` and ``status``: how a task's members, rules and operators change.

* ``changing``: the commands. ``policies``: the policy that a proposal is for. ``floors``: what a node follows without
  its owner, and ``federation floor``.
* ``sources``: what is in force, from a home or a ledger. ``served``: from a service.
"""
