"""The HTTP interface of a service.

* ``app``: requests by path, and whose they are. ``bodies``: what comes with them, and what goes out in pieces.
* ``refusals``: errors as statuses and documents, written here and read by members.
"""
