"""Commands that are imported when they run: the command line starts as fast as what it was asked for.

* ``later``: a command that is known by its name and one line of help, and its group.
* ``federation``: the whole group ``federation``, of two modules. ``groups``: an option of it.
"""
