"""The package's version: the one home of it."""

__version__ = "0.2.0"
