"""Helpers of tests of statistics: ``sums``, a federation that adds up in the open."""
