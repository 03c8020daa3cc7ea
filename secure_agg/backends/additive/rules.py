"""What follows from a policy: how many aggregators, how many of them rebuild a sum, how many must sign a set."""

from __future__ import annotations

from typing import Final

from mpc.ring import ELEMENT_BYTES, Vector
from mpc.vector_shares import Scheme
from secure_agg.backends.contract import OptionRule
from secure_agg.backends.contract.options import (
    BUFFER_RULES,
    HALVES_RULES,
    PRIVACY_RULES,
    TREE_RULES,
    check_options,
)
from secure_agg.errors import ConfigError, PolicyViolation
from secure_agg.protocol.agreement import SignedByOperators
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.config.buffer import Bases, base_of, name_bases
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.session import Session
from zk import commitment
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES, digest

AGGREGATORS: Final = "aggregators"
THRESHOLD: Final = "threshold"
MAX_AGGREGATORS: Final = 16
DEFAULT_AGGREGATORS: Final = 3
SHARE_HOLDERS: Final = OptionRule(AGGREGATORS, 2, MAX_AGGREGATORS, "share holders of every update", DEFAULT_AGGREGATORS)
REBUILDING: Final = OptionRule(
    THRESHOLD, 2, MAX_AGGREGATORS, "share holders that rebuild a sum", usual=f"as many as {AGGREGATORS}"
)
OPTIONS: Final = (SHARE_HOLDERS, REBUILDING)
MAX_SHARE_BYTES: Final = (1 << 31) - 1
"""Most bytes that AES-GCM seals at once here: 536 million parameters."""

SHARE: Final = "share"
BEGIN: Final = "begin"
COLLECT: Final = "collect-shares"
REVEAL: Final = "reveal-commitments"
PARTIAL_SUM: Final = "partial-sum"

BAD_SHARE: Final = "bad-share"
TWO_COMMITMENTS: Final = "two-commitments"
BAD_SHARES: Final = "bad-shares"
BAD_REVEAL: Final = "bad-reveal"
BAD_PARTIAL_SUM: Final = "bad-partial-sum"
TWO_SETS: Final = "two-sets"


def scheme(policy: Policy) -> Scheme:
    """k aggregators, any t of which rebuild a sum; t = k by default.

    Raises:
        ConfigError: an unknown option, or out of range.
    """
    check_options(policy, (*OPTIONS, *TREE_RULES, *HALVES_RULES, *BUFFER_RULES, *PRIVACY_RULES))
    parties = SHARE_HOLDERS.of(policy)
    threshold = REBUILDING.of(policy, parties)
    if threshold > parties:
        raise ConfigError(f"{THRESHOLD} is {threshold}, outside [2, {AGGREGATORS}] = [2, {parties}]")
    return Scheme(parties, threshold)


def signatures(scheme: Scheme) -> int:
    """How many aggregators must sign a set: any two such groups share one of the honest, who signs once.

    Up to t − 1 aggregators may be corrupt, so 2·q − k > t − 1. With t = k all sign. 2 of 3 needs all three to sign,
    so there an aggregator may be lost only after the set is signed; 2 of 4 and 3 of 5 may lose one at any time.
    """
    return (scheme.parties + scheme.threshold - 1) // 2 + 1


class SignedByAggregators(SignedByOperators):
    """So many aggregators sign the set that two sets can't both be signed."""

    def quorum(self, session: Session) -> int:
        """See ``signatures``."""
        return signatures(scheme(session.config.policy))


def start_of(config: RoundConfig, client: str, parties: int) -> int:
    """The first aggregator that gets a long share of a client: it changes with client and round, so that the
    aggregators carry alike.
    """
    return int.from_bytes(digest("long-share", config.context, client.encode())[:8], "little") % parties


def check_size(config: RoundConfig) -> None:
    """Refuse a model whose share can't be sealed at once.

    Raises:
        ConfigError: it can't.
    """
    size = config.layout.hashed * ELEMENT_BYTES
    if size > MAX_SHARE_BYTES - 16:
        raise ConfigError(f"a share of {size} bytes is above {MAX_SHARE_BYTES - 16}: split the model")


def linear_hash(config: RoundConfig, vector: Vector) -> Commitment:
    """h of a share: linear modulo p over all of them, and no more than that, since shares are not short."""
    elements, randomness = vector[: config.layout.elements], vector[config.layout.elements :]
    return commitment.commit(elements, randomness, config.commitment.rank)


def hashes_bytes(config: RoundConfig, scheme: Scheme) -> int:
    """Size of what a client signs of its shares: a hash for each, and one of their sum's; and of a buffered round the
    base that they are a difference from.
    """
    return (scheme.parties + (2 if config.policy.buffer else 1)) * DIGEST_BYTES


def base_of_part(config: RoundConfig, part: bytes) -> bytes:
    """Digest of the base that a client has signed with its hashes; empty where rounds are not buffered."""
    return part[-DIGEST_BYTES:] if config.policy.buffer else b""


def check_base(bases: Bases, config: RoundConfig, client: str, part: bytes, *, phase: str = ADVERTISE) -> None:
    """Refuse an update that is no difference from one of a buffered round's bases.

    Args:
        bases: of the round.
        part: what its client has signed of its shares.

    Raises:
        PolicyViolation: it isn't; the client is at fault.
    """
    model = base_of_part(config, part)
    if model and base_of(bases, model) is None:
        raise PolicyViolation(
            f"an update is a difference from {model.hex()[:16]}…, which is none of the round's bases "
            f"{name_bases(bases)}",
            phase=phase,
            culprit=client,
        )


def whole_hash(config: RoundConfig, client: str, committed: bytes) -> bytes:
    """What a client signs of its own commitment, which its shares' have to combine to whoever opens them: without it
    there could be two, and who may choose among the aggregators could choose between them.
    """
    return digest("whole-commitment", config.context, client.encode(), committed)


def share_hash(config: RoundConfig, client: str, party: int, committed: bytes, nonce: bytes) -> bytes:
    """What a client signs of one share: H(h(share), nonce)."""
    return digest("share-commitment", config.context, client.encode(), bytes([party]), committed, nonce)
