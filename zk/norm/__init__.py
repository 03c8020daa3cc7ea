"""Norm proofs: that every vector of a sum was short, its weight included, for a price that its length does not change.

A vector's *sketch* v = R e has 512 entries and nearly its norm. A client commits to it beside its vector, and proves in
zero knowledge that what it committed to is short; the sum shows that the sketches were of the vectors.

* ``sketch``: R, from a key that is drawn after the vectors are fixed, and its product with integers.
* ``bound``: what is proved, in integers; what follows from it for a sum, as numbers.
* ``commitment``: C', which hides sketch and weight and can be summed; random functionals of it.
* ``statement``: what one proof says, and the challenges that bind all of it.
* ``layout``, ``equations``: the rows that hold a client's secrets; what they have to satisfy.
* ``code``, ``columns``: the code that rows are written in; the tree over the columns of their words. ``hashing``: many
  hashes at once.
* ``proof``, ``prover``, ``verifier``: the proof as bytes, how it is made, how it is checked.
* ``total``: the check on the sum.

Estimates and the proof's soundness are in ``zk.parameters``.
"""
