"""What a round of masking grows with: masks, and what is dealt to neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mpc import graph
from mpc.ring import ELEMENT_BYTES
from secure_agg.backends.masking.rules import chooses_peers, form, screens
from secure_agg.protocol.config import RoundConfig


def amounts(config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
    """By role: ``peers`` whom a client has an edge with, ``masked`` words of key streams, ``shared`` products of
    Shamir's polynomials, ``edges`` that are relayed, and lost ones whose masks are made again; where inputs are
    screened, words that are ``tested`` and masks ``reported`` on. Of a sparse graph, where it is drawn who chooses
    whom, means.
    """
    clients, policy = config.cohort_size, config.policy
    lost, others = clients - survivors, clients - 1
    found = None
    if chooses_peers(config):
        found = graph.degree(clients, policy.max_corrupt, max(1, math.floor(clients * graph.EXPECTED_DROPOUT)))
    chosen = found.neighbours if found else others
    threshold = found.threshold if found else policy.quorum(clients)
    peers = 2 * chosen - chosen**2 / others if found else float(others)
    holders = chosen if found else clients
    words, tested = form(config).size / ELEMENT_BYTES, float(screens(config))
    lost_edges = lost * peers * survivors / others
    return {
        "client": {
            "peers": peers,
            "masked": (1 + peers) * words,
            "shared": float(holders * threshold),
            "tested": tested * (1 + peers) * words,
        },
        "aggregator": {
            "edges": clients * peers,
            "lost edges": lost_edges,
            "masked": (survivors + lost_edges) * words,
            "shared": float(clients * threshold),
            "tested": tested * clients * words,
            "reported": tested * clients * (1 + peers),
        },
    }
