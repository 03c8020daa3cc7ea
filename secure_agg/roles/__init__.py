"""The parties of a round: state machines without I/O, bytes in and bytes out.

* ``client``: commits, hides, signs one set, believes a result once it has checked it. ``aggregator``: leads a round,
  asks and takes the answers.
* ``driver``: a whole round, for whoever leads one; ``task``: what its configuration follows from.
* ``keyholder``, ``shareholder``: operators beside the aggregator; ``operators`` is how an aggregator asks them.
* ``renouncing``: how a generation of a round is given up, by clients or operators.
* ``auditor``: checks evidence. ``faults``: proofs of fault that every backend has. ``trust``: what a party has pinned.
* ``participants``: from advertisements to a session, and who is summed in it.
* ``epochs``: how roster, policy, operators and training change, and how everybody follows.
* ``tree``: rounds over edges, each of which is a round over its own members.
* ``memory``: what a party must not forget. ``stopwatch``: seconds by phase.
"""
