"""Federations that change: ``homes`` of one whose server may be serving."""
