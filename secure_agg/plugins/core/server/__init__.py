"""What the server of a framework's run keeps and decides around its attempts; ``coordinator`` puts it together.

* ``numbering``: which round, draw and attempt is next, and the configuration that follows.
* ``members``: who answers, how far each has come, and what it is shown of what it has missed.
* ``history``: the chain of models. ``reported``: metrics, as the means of a round.
* ``deadlines``: how long nodes have to answer.
* ``aborts``: the journal of rounds that came to nothing. ``unfinished``: what is kept of those that may still be
  finished. ``hope``: whether a run may go on after one.
"""
