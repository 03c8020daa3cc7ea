"""The command line, ``secure-agg``: results on stdout, people's progress on stderr, ``--json`` everywhere.

``app`` puts the commands together, ``exits`` maps exceptions to exit codes, ``output`` writes; every other
file is one command or a part of ``demo``.
"""

from secure_agg.cli.app import main

__all__ = ["main"]
