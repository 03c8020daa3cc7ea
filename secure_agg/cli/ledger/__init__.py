"""``secure-agg ledger …``: read, audit, publish and repair a ledger, and have it witnessed and anchored."""
