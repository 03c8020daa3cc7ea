"""The command line, ``secure-agg``: results on stdout, people's progress on stderr, ``--json`` everywhere.

* ``app``: puts the commands together. ``options``: arguments that several of them take.
* ``completion``: completion in shells. ``epilog``: what every help ends with. ``logs``: the library's log.
* ``streams``: what stands behind stdout and stderr. ``progress``: how far a command is.
* ``output``: writes. ``documents``: records and trust as JSON. ``exits``: exceptions as exit codes.
* ``demo``, ``verify``, ``ledger``, ``operators``, ``epochs``, ``preflight``, ``service``, ``stats``: commands in
  folders, each with its own map. ``commands``: commands that are imported when they run.
* ``backends``, ``beacon``, ``bench``, ``federation``, ``keygen``, ``plan``: a command each, or a group in one file.
* ``costs``: what protection cost, which ``demo`` shows.
"""

from secure_agg.cli.app import main

__all__ = ["main"]
