"""Epochs between rounds of a framework's run: nodes close one, and follow the next.

* ``node``: what a node checks before it closes, and how it follows. ``server``: how the coordinator asks for both.
"""
