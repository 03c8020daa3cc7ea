"""flies: a Flower app that asks laboratories for statistics."""
