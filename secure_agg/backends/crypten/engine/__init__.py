"""Computing on additively shared vectors what a sum can't: k party processes, CrypTen's protocols, exact integers.

* ``launcher``: starts the processes and gives them jobs; ``Parties`` is what is used from outside.
* ``jobs``: what can be computed, and the frames that say so. ``channel``: carries them.
* ``nursery``: has imported CrypTen, and begins the processes as copies of itself. ``party``: a process. ``link``: its
  network with the others. ``provider``: correlated randomness from one that is no party.
* ``functions``: range check, norm bound, trimmed mean, median. ``circuits``, ``kernels``: what they are made of.
* ``loader``: CrypTen, with its generators replaced by ``randomness``.

What is assumed and what is leaked is said at ``Parties`` and in ``functions``. Only the processes import PyTorch and
CrypTen.
"""

from secure_agg.backends.crypten.engine.jobs import Layout, NormBound, Range, Result
from secure_agg.backends.crypten.engine.launcher import Parties

__all__ = ["Layout", "NormBound", "Parties", "Range", "Result"]
