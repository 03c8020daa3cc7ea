"""Rounds over updates from models of different age, one after another.

* ``task``: class BufferedTask, which makes them in one process.
"""
