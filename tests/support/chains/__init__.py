"""Chains for the anchor that are processes of their own: ``anvil``."""
