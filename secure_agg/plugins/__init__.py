"""Plug-ins for federated-learning frameworks: the roles of a round, driven by a framework's own messages.

``participant`` is a node's side and ``coordinator`` the server's; both work on opaque payloads (``parcels``) and know
no framework. ``flower`` and ``nvflare`` carry the payloads and hand over models.
"""
