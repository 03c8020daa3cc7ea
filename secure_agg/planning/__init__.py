"""What a round costs before anybody runs it: seconds, bytes and memory of each role, for any number of parameters.

* ``setting``: what is asked about, and the numbers that follow from it: layout, degrees, quorums.
* ``encoding``: how many bytes a message has, from the wire formats.
* ``work``: the operations that are counted.
* ``direct``, ``masking``, ``additive``, ``homomorphic``: the steps of a round: what each role does, sends and holds.
* ``constants``, ``calibration``: what one operation takes on a machine.
* ``memory``: what each role holds at most.
* ``prediction``: all of it together, with the network.
* ``limits``, ``advice``: what is refused and what to do, and which backend to choose.

Bytes follow from the formats and are exact where a round has no randomness in its graph; seconds are counts times
measured constants; memory is what grows with the parameters or the clients, above the process itself.
"""
