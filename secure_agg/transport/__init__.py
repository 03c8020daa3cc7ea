"""Operators as processes of their own: what carries their messages, and who may open a connection to whom.

The roles know nothing of it. Every message is signed by its sender and checked by its receiver, whatever carried it;
the transport adds that nobody else can talk to an operator, and that a process which is gone is noticed.

* ``credentials``: an operator's TLS certificate, and the card that binds it to the pinned identity.
* ``keyfile``: an operator's secrets at rest.
* ``failure``: a typed error on its way from one process to another.
* ``channel``: addresses, limits, and what gRPC is told.
* ``entrance``: the door of the port, where strangers wait; ``secure_agg.admission`` says who has to go when it is full.
* ``server``: one role behind a port. ``client``: connections to several.
* ``blocking``: the same for code without an event loop. ``epochs``: brings operators to the epoch in force;
  ``following`` is an operator that goes on by itself.
* ``share_holders``: what is particular to share holders; ``key_holders``: to key holders.
* ``processes``: starts operators on this machine and ends them in every case.
"""
