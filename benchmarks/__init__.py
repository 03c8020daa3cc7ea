"""Measurements of secure-agg, each beside the machine's own limit, or the usual way of doing it, in the same run.

``python -m benchmarks SUITE`` and ``secure-agg bench SUITE`` are the same command; besides the suites there are
``all`` and ``report``. A figure from one machine says little about another, a ratio says more: a suite runs the
operation and what bounds it alternately, so that other load on the machine slows both.

=================

========================  ==================================================================
``suite``                 what a suite is; ``__main__`` lists all of them
``everything``            the command ``all``, and the watch over every suite
``files``                 the JSON files
``federation``            the settings, and rounds whose requests can be replayed
``timing``                medians, spreads and ratios of alternating repetitions
``load``                  how busy the machine was, and from when on that is too much
``metering``              a round whose bytes, seconds and memory are counted
``limits``                what the machine itself can do
``core``                  one masking round: its options and the order of its rows
``core.kernels``          encode, commit, check, decode, masks, secret sharing
``core.client``           what verification costs a client, and its traffic, from a real round
``core.aggregation``      the aggregator of real rounds with dropouts
``core.memory``           peak memory, in fresh processes
``rounds``                whole rounds: backends × parameters × clients × bits × lost clients
``rounds.cells``          what one cell of that matrix is: costs by role and phase
``rounds.cell_process``   a cell in processes of its own, timed by pyperf
``rounds.cell_rounds``    the rounds of a cell, and after each what it is compared with
``rounds.fedavg``         plain FedAvg, the one baseline
``rounds.training``       local training of a model of the same size, the other
``rounds.limits_pinned``  what one core and the disk can do, timed by pyperf
``peers``                 others' code beside ours
``peers.flower``          a client of Flower's SecAgg+, and pycryptodome's Shamir
``he``                    the homomorphic backends
``he.lattice``            ckks and bfv beside the usual way of using TenSEAL
``he.paillier``           paillier beside the usual way of using phe
``he.committee``          a Paillier key that three members share
``he.rounds``             a whole verified round with every backend
``he.memory``             peak memory of encrypting and adding
``he.plot``               the picture
``mpc``                   the backends that share updates among operators
``mpc.client``            what sharing costs a client, and its uploads
``mpc.round``             whole rounds of ``additive``, and the same sum with CrypTen
``mpc.peer``              CrypTen's usual way, in processes of its own
``mpc.processes``         the same rounds over aggregators in processes of their own
``mpc.functions``         norm check, trimmed mean and median of ``crypten``
``mpc.memory``            peak memory of an aggregator
``ledger``                the ledger
``ledger.append``         appends beside the disk's own rate
``ledger.proofs``         proofs and memory of long logs
``ledger.gas``            what the registry contract costs
``scale``                 growth, beside the cost model's predictions
``scale.round``           a round whose processor time, bytes and allocations are taken
``plugins``               a round under Flower beside its own SecAgg+
``plugins.flower``        our mod and grid, Flower's SecAgg+ and plain, in turn
``plugins.nodes``         Flower without a network
``plugins.secagg``        Flower's SecAgg+ as published
``report``                what is made of results
``report.report``         rows, targets, the table and the JSON file
``report.publish``        the command ``report``
``report.sections``       what the report says
``report.tables``         its tables
``report.plots``          its pictures
``report.canvas``         what every picture says by itself, and its two forms
``report.palette``        which colour means what
``report.page``           it as HTML
``report.markdown``       it as Markdown, and the README's table
``report.compare``        two runs side by side: regressions
========================  ==================================================================
"""
