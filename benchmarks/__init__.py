"""Measurements of secure-agg, each beside the machine's own limit, or the usual way of doing it, in the same run.

``python -m benchmarks SUITE`` and ``secure-agg bench SUITE`` are the same command; besides the suites there are
``all`` and ``report``. A figure from one machine says little about another, a ratio says more: a suite runs the
operation and what bounds it alternately, so that other load on the machine slows both.

=================  ==================================================================
``core``           the suite of the masking round: its options and the order of its rows
``kernels``        encode, commit, check, decode, masks, secret sharing
``client``         what verification costs a client, and its traffic, from a real round
``aggregation``    the aggregator of a real round with dropouts
``memory``         peak memory, in fresh processes
``limits``         what the machine itself can do
``limits_pinned``  what one core and the disk can do, timed by pyperf
``rounds``         the suite of whole rounds: backends × parameters × clients × bits × lost clients
``cells``          what one cell of that matrix is: costs by role and phase
``cell_process``   a cell in processes of its own, timed by pyperf
``cell_rounds``    the rounds of a cell
``metering``       a round whose bytes, seconds and memory are counted
``fedavg``         plain FedAvg, the baseline
``peers``          the suite of others' code beside ours
``flower_peer``    a client of Flower's SecAgg+, and pycryptodome's Shamir
``he``             the suite of the homomorphic backends
``he_lattice``     ckks and bfv beside the usual way of using TenSEAL
``he_paillier``    paillier beside the usual way of using phe
``he_committee``   a Paillier key that three members share
``he_rounds``      a whole verified round with every backend
``he_memory``      peak memory of encrypting and adding
``he_plot``        the picture
``mpc``            the suite of the backends that share updates among operators
``mpc_client``     what sharing costs a client, and its uploads
``mpc_round``      whole rounds of ``additive``, and the same sum with CrypTen
``mpc_peer``       CrypTen's usual way, in processes of its own
``mpc_processes``  the same rounds over aggregators in processes of their own
``mpc_functions``  norm check, trimmed mean and median of ``crypten``
``mpc_memory``     peak memory of an aggregator
``ledger``         the suite of the ledger
``ledger_append``  appends beside the disk's own rate
``ledger_proofs``  proofs and memory of long logs
``scale``          the suite of growth, beside the cost model's predictions
``scale_round``    a round whose processor time, bytes and allocations are taken
``federation``     the settings, and rounds whose requests can be replayed
``timing``         medians, spreads and ratios of alternating repetitions
``report``         rows, targets, the table and the JSON file
``suite``          what a suite is
``everything``     the command ``all``
``files``          the JSON files
``publish``        the command ``report``
``sections``       what the report says
``tables``         its tables
``plots``          its pictures
``page``           it as HTML
``markdown``       it as Markdown, and the README's table
``compare``        two runs side by side: regressions
=================  ==================================================================
"""
