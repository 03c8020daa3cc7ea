"""The suite ``peers``: other people's code beside ours.

``suite`` has all peers, ``flower`` the client of Flower's SecAgg+.
"""
