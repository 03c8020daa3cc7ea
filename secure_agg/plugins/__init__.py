"""Plug-ins for federated-learning frameworks: the roles of a round, driven by a framework's own messages.

* ``core``: a round inside any framework: opaque payloads in and out.
* ``statistics``: questions and answers as such rounds.
* ``homes``: what nodes and servers keep on disk.
* ``flower``, ``nvflare``: carry the payloads, and hand over models.
"""
