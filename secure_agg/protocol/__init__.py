"""What parties say and sign, without state and without I/O.

* ``identity``: Ed25519 identities and rosters. ``id_characters``: what ids are made of. ``config``: the policy that
  everybody pins, and the configuration of one round, whose digest binds everything in it.
* ``habits``: what a backend says of a policy that leaves it to the backend.
* ``messages``, ``requests``, ``ready``: typed, strict wire messages, which any thread may read. ``codec``,
  ``clipping``: floats to small integers and back.
* ``session``, ``agreement``, ``certificate``: who takes part; who signs which set of them; who certifies an encryption
  key. ``norm``: what a norm bound adds to inputs and evidence. ``privacy``: what noise does.
* ``epoch``: the roster, policy, operators and training that are in force between two records.
* ``renunciation``: how the right to open a sum is given up, so that its clients can give their updates to another.
* ``tree``: what is said and signed where a round's clients are edges, each a round over its own members.
* ``sparse``: what a session follows from where clients choose their peers, and what each is shown of it.
* ``evidence``, ``claims``: all an auditor needs, the ledger's record, and what a result claims to be.
* ``fault``, ``refusal``: proofs that a party broke the protocol; a library's exception as a refusal of a message.
"""
