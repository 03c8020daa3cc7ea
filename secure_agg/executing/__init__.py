"""Where the work of a round is done: in this process, in several of this machine, or on a Ray cluster of many.

A round's heavy work is a function of long vectors, and splits by their coordinates: adding up, masks, hashing by blocks
whose sums add up, decoding. An executor is handed pure functions of a range and of what lies in it, and hands back what
they return, in order: which worker did what, how many there are and which of them died on the way changes no bit of it.

* ``executor``: what every executor is, and the one in this process. ``named``: executors by name.
* ``pool``: several workers: shards drawn by whoever is free, and done again where a worker is lost.
* ``processes``: workers that are processes of this machine. ``worker``: what such a process runs.
* ``carrying``: values on their way to a worker, arrays in memory that both sides see.
* ``on_ray``: workers that are actors of a Ray cluster.
* ``vectors``: the work itself: masks, hashes and sums of long vectors, shard by shard.

Workers are their owner's own: they see what it sees, seeds of masks and updates of a simulation among it. Nothing that
somebody else has sent is ever unpickled; what goes to workers and back is.
"""

from secure_agg.executing.executor import IN_PROCESS, Executor, Guest, InProcess, Shard
from secure_agg.executing.named import HERE, executor_of
from secure_agg.executing.on_ray import Ray
from secure_agg.executing.processes import Processes

__all__ = ["HERE", "IN_PROCESS", "Executor", "Guest", "InProcess", "Processes", "Ray", "Shard", "executor_of"]
