"""The command line, ``secure-agg``: results on stdout, people's progress on stderr, ``--json`` everywhere.

* ``app``: puts the commands together. ``later``: a command that is imported when it runs, so that the command line
  starts as fast as what it was asked for.
* ``terminal``: what all commands share: options, help, results, progress, logs, and exit codes.
* ``demo``, ``verify``, ``ledger``, ``federation``, ``operators``, ``epochs``, ``preflight``, ``service``, ``stats``:
  commands in folders, each with its own map.
* ``backends``, ``beacon``, ``bench``, ``completion``, ``keygen``, ``plan``: a command each, or a group in one file.
"""

from secure_agg.cli.app import main

__all__ = ["main"]
