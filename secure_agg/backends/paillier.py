"""Backend ``paillier``: packed Paillier, readable by stock ``phe``, with an optional split key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mpc.paillier import paillier
from mpc.paillier.packing import HEADER_BYTES
from mpc.paillier.paillier import PaillierError, PublicKey
from mpc.paillier.threshold import ThresholdKey
from secure_agg import extras
from secure_agg.backends.contract import AggregatorSide, Opener, TrustStatement
from secure_agg.backends.homomorphic import coordinates
from secure_agg.backends.homomorphic.backend import HomomorphicAggregator, HomomorphicBackend, read_checked
from secure_agg.backends.homomorphic.paillier_scheme import (
    CommitteeAggregator,
    PaillierScheme,
    deal,
    packing,
    read_public,
    restore,
)
from secure_agg.backends.homomorphic.scheme import Scheme
from secure_agg.errors import BadKey, ConfigError
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.messages import ADVERTISE

MODULUS_BITS: Final = "modulus_bits"
HOLDERS: Final = "holders"
THRESHOLD: Final = "threshold"
_OPTIONS: Final = (HOLDERS, MODULUS_BITS, THRESHOLD)


class PaillierBackend(HomomorphicBackend):
    """Options: ``modulus_bits`` (3072), ``holders`` of the key (1), ``threshold`` of them that decrypt (a majority)."""

    name = "paillier"
    trust = TrustStatement(
        summary="packed Paillier under a key holder's key, or a key split among several",
        trusted="the key holder does not collude with the aggregator; of n with a split key fewer than 2t − n do, "
        "t being the threshold, and the dealer forgets what it dealt",
        dropouts="tolerated before the input phase; the key holder, or a threshold of them, must answer",
        post_quantum="no",
        limits="eight failed checks retire a whole key; 2048-bit keys have 112-bit security; for models of up to a few "
        "million parameters",
    )

    def check_policy(self, policy: Policy) -> None:
        """Modulus from 2048 to 8192 bits; of n holders t decrypt together, where 2t − n > 1.

        Members answer once for each round, but see no set signed. Any two groups of t share 2t − n members, and one
        of them at least has to be honest, or the aggregator could have two sums opened that differ by one client.
        """
        unknown = [option.name for option in policy.options if option.name not in _OPTIONS]
        if unknown:
            raise ConfigError(f"backend 'paillier' has no option {unknown[0]!r}: {', '.join(_OPTIONS)}")
        holders, threshold = self.holders(policy), self._threshold(policy)
        if holders < 1 or not 1 <= threshold <= holders or (holders > 1 and 2 * threshold - holders < 2):
            raise ConfigError(
                f"a threshold of {threshold} among {holders} key holders: any two sets that open a sum must share two "
                "members, so that one corrupt member does not open two"
            )
        try:
            paillier.check_bits(self._bits(policy))
        except PaillierError as error:
            raise ConfigError(str(error)) from error

    def holders(self, policy: Policy) -> int:
        """The option ``holders``."""
        return policy.option(HOLDERS, 1)

    def operators_needed(self, policy: Policy) -> int:
        """The threshold."""
        return self._threshold(policy)

    def _threshold(self, policy: Policy) -> int:
        holders = self.holders(policy)
        return policy.option(THRESHOLD, 1 if holders == 1 else (holders + 1) // 2 + 1)

    def _bits(self, policy: Policy) -> int:
        return policy.option(MODULUS_BITS, paillier.DEFAULT_BITS)

    def scheme(self, config: RoundConfig, public: bytes) -> PaillierScheme:
        """Packed for this round's sums."""
        extras.require("paillier")
        return PaillierScheme(config, self._key(config.policy, public))

    def _key(self, policy: Policy, public: bytes) -> PublicKey | ThresholdKey:
        key = read_public(public, self._bits(policy))
        committee = self.holders(policy) > 1
        if committee != hasattr(key, "threshold") or getattr(key, "threshold", 1) != self._threshold(policy):
            raise BadKey("the key is not split as the policy says", phase=ADVERTISE)
        return key

    def check_holders(self, scheme: Scheme, names: tuple[str, ...]) -> None:
        """A committee's key names its members."""
        members = getattr(getattr(scheme, "key", None), "members", names)
        if members != names:
            raise BadKey(f"the key is shared among {members}, and {names} vouch for it", phase=ADVERTISE)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """One size."""
        bits = self._bits(config.policy)
        size = HEADER_BYTES + packing(config, bits).ciphertexts(coordinates.length(config)) * bits // 4
        return range(size, size + 1)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """With a split key it keeps the ciphertexts for the committee."""
        certificate = read_checked(setup)
        scheme = self.scheme(config, certificate.public)
        if self.holders(config.policy) > 1:
            return CommitteeAggregator(scheme, certificate)
        return HomomorphicAggregator(scheme, certificate)

    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """A fresh key; the caller is its dealer."""
        extras.require("paillier")
        return deal(self._bits(config.policy), self._threshold(config.policy), holders)

    def opener(self, policy: Policy, data: bytes) -> Opener:
        """A whole key or a share, as the policy says."""
        extras.require("paillier")
        opener = restore(data, self._bits(policy))
        self._key(policy, opener.public)
        return opener
