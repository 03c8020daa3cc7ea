"""Epochs over a service: ``desk`` is the server's side, what lies open and what was missed; ``changes`` a party's, what
is proposed and what it signs of that.
"""
