"""Measurements of secure-agg, each beside the machine's own limit, or the usual way of doing it, in the same run.

``python -m benchmarks SUITE`` and ``secure-agg bench SUITE`` are the same command; besides the suites there are
``all``, ``report`` and ``fit``. A figure from one machine says little about another, a ratio says more: a suite runs
the operation and what bounds it alternately, so that other load on the machine slows both.

The suites, each a package whose ``suite`` has its options and the order of its rows:

* ``core``: one masking round, kernel by kernel. ``rounds``: whole rounds of every backend, as a matrix.
* ``ledger``: appends, proofs, gas. ``scale``: growth of the aggregator's work, and executors beside one process.
* ``he``: homomorphic backends beside TenSEAL and phe. ``mpc``: backends that share updates, beside CrypTen.
* ``peers``: others' code beside ours. ``plugins``: rounds under frameworks. ``trees``: one of very many clients.
* ``privacy``: what noise costs means and training.
* ``service``: rounds over HTTPS.

What they share:

* ``suite``: what a suite is. ``everything``: the command ``all``. ``files``: the JSON files.
* ``federation``: the settings. ``measure``: whole rounds, measured in one way.
* ``load``: how busy the machine was, and from when on that is too much.
* ``timing``: medians, spreads and ratios of alternating repetitions. ``limits``: what the machine itself can do.
* ``results``: rows, targets, and what a file of them holds. ``report``: the page, the Markdown and the comparison that
  the command of that name makes of them. ``fit``: what plans are made from, of the results of ``rounds``.
"""
