"""Rounds over HTTPS, without a framework: a server for any number of tasks, and sessions that take part in them.

A service carries the payloads of ``plugins.core`` between a coordinator and participants, as Flower and NVFlare do. It
is no party of its own: what it could alter is signed inside, and checked by whom it is for.

* ``wire``: what is sent over HTTP: paths, signed requests, models.
* ``certificate``: the server's TLS certificate, and how a client knows it.

The server's side:

* ``gate``: whose request it is, and how many. ``post``: payloads that wait for members, and their answers.
* ``epochs``: what is proposed for the next one; both sides.
* ``rounds``: makes a task's rounds. ``interface``: HTTP. ``server``: the process.
* ``beside``: all of this but the rounds, in the process of a framework's server.
* ``monitor``: metrics and health. ``logs``: JSON lines.

A member's side:

* ``link``: requests, and trying again. ``session``: contributions, and verified results.
* ``bounds``: how long what a member is sent can be. ``paced``: connections whose answers have to come at some speed.
"""
