"""Executors in tests: ``work`` for their workers, ``killing`` of these in the middle of a round."""
