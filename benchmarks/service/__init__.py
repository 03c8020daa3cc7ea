"""The suite ``service``: rounds over HTTPS on this machine, with many members.

``suite`` is its options and rows, ``world`` starts everybody and measures, ``members`` is a process with many members.
"""
