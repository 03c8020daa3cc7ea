"""``secure-agg aggregator …`` and ``keyholder …``: operators' keys, and their processes."""
