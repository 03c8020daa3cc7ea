"""Stands before PyTorch where NVFlare averages numpy's arrays: what follows is what its absence does.

NVFlare imports it where it is there, at the end of every workflow, to look for what has to be cleaned up: seconds of a
core in each process.
"""

raise ImportError("these processes do without it")
