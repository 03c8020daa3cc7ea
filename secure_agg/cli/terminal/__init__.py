"""What every command shares: how it is asked, and what it says on stdout and stderr and by its exit code.

* ``options``: arguments that several commands take. ``epilog``: what every help ends with.
* ``output``: writes the result. ``documents``: records and trust as JSON. ``exits``: exceptions as exit codes.
* ``streams``: what stands behind stdout and stderr. ``progress``: how far a command is. ``logs``: the library's log.
"""
