"""``secure-agg aggregator …`` and ``keyholder …``: operators' keys, and their processes.

``aggregator`` and ``keyholder`` are the commands, ``operating`` what they have in common.
"""
