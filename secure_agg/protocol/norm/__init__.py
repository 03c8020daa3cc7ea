"""What a norm bound adds to a round: a sketch's commitment and a proof with every input, and how both are checked.

* ``wire``: what a client sends, what the evidence keeps of it, and what the client signs.
* ``checks``: of one client's sketch and proof, and of the sum.
* ``claim``: what the record says of it.
"""
