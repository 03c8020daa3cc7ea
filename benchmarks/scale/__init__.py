"""Suite ``scale``: how an aggregator's work grows, and what executors make of it.

* ``suite``: the options and the order of the rows.
* ``growth``: whole rounds over four sizes of models and four of cohorts, and what follows for larger ones.
* ``laws``: power laws fitted to them, with what they leave unexplained.
* ``received``: what one client is sent before the result, by size of the cohort.
* ``shards``: the work on long vectors by an executor, beside this process.
* ``simulated``: ``aggregate`` with many clients, in a process of its own.
* ``whole``: single large rounds, as far as memory goes.
"""
