"""The suite ``plugins``: rounds under Flower and NVFlare, beside plain ones and Flower's SecAgg+.

``suite`` is the order of its rows, ``options`` what it is run with. ``flower`` measures, on ``nodes`` in this process;
``secagg`` is Flower's own secure aggregation. ``wall`` is no suite: it runs ``app`` under Flower's own processes.
"""
