"""``secure-agg demo``: federated training on real data, with a tampering aggregator or a poisoned client."""
