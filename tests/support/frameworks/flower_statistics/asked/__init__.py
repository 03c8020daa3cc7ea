"""A Flower app for tests that asks, and answers."""
