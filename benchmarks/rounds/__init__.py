"""The suite ``rounds``: the matrix of whole rounds, each cell in processes of its own.

* ``suite``: which cells.
* ``cell_rounds``: the rounds of a cell; ``cell_process``: in processes of its own, timed by pyperf.
* ``fedavg``: the baseline. ``training``: what a client does anyway.
* ``limits_pinned``: what one core and the disk can do.
"""
