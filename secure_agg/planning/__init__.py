"""What a round costs before anybody runs it: seconds, bytes and memory of each role, for any number of parameters.

* ``setting``: what is asked about, and the amounts that its costs grow with.
* ``coefficients``: what one of each amount takes on a machine, fitted to measured rounds. Those that are shipped are in
  ``coefficients.json``.
* ``prediction``: amounts times coefficients, with the network.
* ``speed``: how much slower or faster this machine is.
* ``norms``: which norm bound to ask for, by what earlier rounds' sums say.
* ``clips``: which clips groups need, by a secure histogram of what clients would give.
* ``words``: seconds and bytes for people.
* ``privacy``: what differential privacy spends of its budget, and how long the noise of a mean is.
* ``limits``, ``advice``: what is refused or not known, and what to do, and which backend to choose.

Nothing here knows a backend: each says itself what its costs grow with (``Backend.amounts``), and what one of that
takes has been measured.
"""
