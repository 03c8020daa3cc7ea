"""What a round is.

* ``policy``: what everybody pins of a task. ``terms``: what it says, and what follows from that.
  ``round_config``: one attempt at one round; its digest binds everything.
* ``thresholds``: how many clients a round needs, and how many may be corrupt.
* ``presets``: settings for usual federations.
* ``norm``: a norm bound, as options of a policy. ``privacy``: differential privacy, likewise; ``tree``: where in a tree
  a task is.
* ``buffer``: rounds whose clients have trained from different models, likewise, and which models those may be.
* ``groups``: the named vectors of an update, likewise. ``layout``: how a client's vector is laid out; ``blocks``: in
  which blocks a rotated one is.
* ``settings``: limits of both, and how what a caller gives becomes one of them.
"""

from secure_agg.protocol.config.groups import Group
from secure_agg.protocol.config.layout import Layout, Part, Run
from secure_agg.protocol.config.policy import Policy
from secure_agg.protocol.config.round_config import PROTOCOL_VERSION, GroupedConfig, RoundConfig
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
from secure_agg.protocol.config.terms import Option

__all__ = [
    "HALVES",
    "MAX_BITS",
    "MAX_OPTION",
    "MAX_PARAMETERS",
    "MAX_WEIGHT",
    "NO_DIGEST",
    "PROTOCOL_VERSION",
    "Group",
    "GroupedConfig",
    "Layout",
    "Option",
    "Part",
    "Policy",
    "RoundConfig",
    "Run",
    "check_arrays_fit",
    "free_bits",
]
