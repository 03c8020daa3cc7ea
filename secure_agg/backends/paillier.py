"""Backend ``paillier``: packed Paillier, readable by stock ``phe``, with an optional split key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mpc.paillier import paillier
from mpc.paillier.montgomery import LIMB_BITS
from mpc.paillier.paillier import PublicKey
from mpc.paillier.threshold import MAX_MEMBERS, ThresholdKey
from secure_agg import extras
from secure_agg.backends.contract import AggregatorSide, Opener, OptionRule, Seats, TrustStatement
from secure_agg.backends.homomorphic.backend import HomomorphicAggregator, HomomorphicBackend
from secure_agg.backends.homomorphic.brought import phe_keys
from secure_agg.backends.homomorphic.paillier_scheme import (
    CommitteeAggregator,
    PaillierOpener,
    PaillierScheme,
    deal,
    packing,
    read_public,
    restore,
)
from secure_agg.errors import BadKey, ConfigError
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.messages import ADVERTISE

MODULUS: Final = OptionRule(
    "modulus_bits",
    paillier.MIN_BITS,
    paillier.MAX_BITS,
    "length of the modulus",
    paillier.DEFAULT_BITS,
    step=2 * LIMB_BITS,
)
HOLDERS: Final = OptionRule("holders", 1, MAX_MEMBERS, "key holders among whom the key is split", 1)
THRESHOLD: Final = OptionRule(
    "threshold",
    1,
    MAX_MEMBERS,
    "key holders that open a sum together",
    usual="a majority; two such groups share two",
)


class PaillierBackend(HomomorphicBackend):
    """One key holder, or a committee of which a threshold decrypts."""

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

    options = (MODULUS, HOLDERS, THRESHOLD)

    def check_policy(self, policy: Policy) -> None:
        """Of n holders t decrypt together, where 2t − n > 1.

        Members answer once for each round, but see no set signed. Any two groups of t share 2t − n members, and one
        of them at least has to be honest, or the aggregator could have two sums opened that differ by one client.
        """
        super().check_policy(policy)
        seats = self.seats(policy)
        holders, threshold = seats.count, seats.needed
        if threshold > holders or (holders > 1 and 2 * threshold - holders < 2):
            raise ConfigError(
                f"a threshold of {threshold} among {holders} key holders: any two sets that open a sum must share two "
                "members, so that one corrupt member does not open two"
            )

    def seats(self, policy: Policy) -> Seats:
        """The options ``holders`` and ``threshold``."""
        holders = HOLDERS.of(policy)
        return Seats(holders, needed=THRESHOLD.of(policy, 1 if holders == 1 else (holders + 1) // 2 + 1))

    def scheme(self, config: RoundConfig, public: bytes) -> PaillierScheme:
        """Packed for this round's sums."""
        extras.require("paillier")
        return PaillierScheme(config, self._key(config.policy, public))

    def _key(self, policy: Policy, public: bytes) -> PublicKey | ThresholdKey:
        key, seats = read_public(public, MODULUS.of(policy)), self.seats(policy)
        if (seats.count > 1) != hasattr(key, "threshold") or getattr(key, "threshold", 1) != seats.needed:
            raise BadKey("the key is not split as the policy says", phase=ADVERTISE)
        return key

    def check_key(self, config: RoundConfig, public: bytes, holders: tuple[str, ...]) -> None:
        """A committee's key names its members."""
        members = getattr(self.scheme(config, public).key, "members", holders)
        if members != holders:
            raise BadKey(f"the key is shared among {members}, and {holders} vouch for it", phase=ADVERTISE)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """One size."""
        bits = MODULUS.of(config.policy)
        packed = packing(config, bits)
        size = packed.header_bytes() + packed.ciphertexts(packed.length) * bits // 4
        return range(size, size + 1)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """With a split key it keeps the ciphertexts for the committee."""
        certificate = self.certificate(setup)
        scheme = self.scheme(config, certificate.public)
        if HOLDERS.of(config.policy) > 1:
            return CommitteeAggregator(scheme, certificate)
        return HomomorphicAggregator(scheme, certificate)

    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """A fresh key; the caller is its dealer."""
        extras.require("paillier")
        return deal(MODULUS.of(config.policy), self.seats(config.policy).needed, holders)

    def settings(self, key: object) -> Mapping[str, int]:
        """The length of a phe key's modulus."""
        extras.require("paillier")
        bits = phe_keys.read(key).public.bits
        return {MODULUS.name: bits}

    def bring(self, config: RoundConfig, key: object) -> Opener:
        """A ``phe.PaillierPrivateKey``, or the bytes of pheutil's file. It is whole: one holder has it."""
        self.check_settings(config.policy, key)
        return PaillierOpener(phe_keys.read(key))

    def opener(self, policy: Policy, data: bytes) -> Opener:
        """A whole key or a share, as the policy says."""
        extras.require("paillier")
        opener = restore(data, MODULUS.of(policy))
        self._key(policy, opener.public)
        return opener
