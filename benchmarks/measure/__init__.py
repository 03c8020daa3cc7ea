"""The one way to measure a whole round, for every suite.

* ``round``: runs it, and says what every call of every party took, sent and held.
* ``meter``: what is read at a role. ``memory``: resident memory, of this process and its helpers.
* ``recording``: what one client was sent, to repeat its part alone.
* ``cells``: a setting, and what rounds with it cost each role in each phase.
"""
