"""How a task changes: who may decide it, who has to have closed what was before, and how everybody follows.

Authority and closure are two statements by two groups. Whoever has the authority, a quorum of the members' owners or of
pinned administrators, authorises one body for an epoch. The nodes of the old members close the epoch: they renounce the
sums that were not opened, and sign nothing more in it. Every new key accepts.

* ``pins``: what is in force, as trust and as a body. ``change``: a proposal, and what may not be one.
* ``acts``: what one party signs, each once, durably. ``checking``: whether all of that makes an epoch.
* ``following``: the next epoch, for whoever knows the one before. ``forks``: two successors of one.
* ``floor``: below what an owner is asked by hand. ``influence``: what of groups and norm bounds is below it.
* ``budgets``: another privacy budget, which what was spent counts against. ``words``: options, for owners.
"""
