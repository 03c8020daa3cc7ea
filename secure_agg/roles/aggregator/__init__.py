"""Role *aggregator*.

``leading`` goes from phase to phase and says whom it asks, ``asking`` makes the requests; ``aggregator`` takes the
answers, each of which ``hearing`` looks at, and opens and checks the sum.
"""

from secure_agg.roles.aggregator.aggregator import Aggregator as Aggregator
