"""Answers as the vectors that rounds sum, and sums back: what site and analyst share, whoever carries rounds.

Between them is any round over float vectors of which everybody learns the verified mean: ``aggregate``, a session of
the service, an app under Flower or NVFlare. Which form an answer has follows from the policy of the rounds alone.

* ``forms``: what both forms are, and which one a policy's rounds have. ``totals``: what comes of them.
* ``exact``: integers, in ``digits``. ``noisy``: shares with noise, where the policy has differential privacy.
"""
