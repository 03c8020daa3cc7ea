"""Differential privacy by noise that every client adds to its own vector: arithmetic only, no rounds.

* ``skellam``: exact draws of Skellam noise, and how far they reach.
* ``mechanism``: the integers of one round: clip, sensitivity, variance, limits. Every party finds the same.
* ``accounting``: what rounds of a noise ratio spend together, to the bit the same everywhere; the ratio for a budget;
* ``asked``: what a policy's maker asks for.
"""
