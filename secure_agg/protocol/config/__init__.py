"""What a round is.

* ``policy``: what everybody pins of a task. ``round_config``: one attempt at one round; its digest binds everything.
* ``thresholds``: how many clients a round needs, and how many may be corrupt.
* ``presets``: settings for usual federations.
* ``norm``: a norm bound, as options of a policy. ``privacy``: differential privacy, likewise; ``tree``: where in a tree
  a task is. ``blocks``: how vectors are cut that are rotated.
* ``settings``: limits of both, and how what a caller gives becomes one of them.
"""

from secure_agg.protocol.config.policy import Option, Policy
from secure_agg.protocol.config.round_config import PROTOCOL_VERSION, Layout, RoundConfig
from secure_agg.protocol.config.settings import (
    HALVES,
    MAX_BITS,
    MAX_OPTION,
    MAX_PARAMETERS,
    MAX_WEIGHT,
    NO_DIGEST,
    check_arrays_fit,
    free_bits,
)

__all__ = [
    "HALVES",
    "MAX_BITS",
    "MAX_OPTION",
    "MAX_PARAMETERS",
    "MAX_WEIGHT",
    "NO_DIGEST",
    "PROTOCOL_VERSION",
    "Layout",
    "Option",
    "Policy",
    "RoundConfig",
    "check_arrays_fit",
    "free_bits",
]
