"""Who the share holders of a round are, and the keys that clients seal their shares to: the round's public setup."""

from __future__ import annotations

from typing import Final

from mpc.framing import frame
from mpc.keys import KeyAgreementError, check_public
from secure_agg.errors import BadKey, ConfigError, PolicyViolation
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.buffer import Bases, check_bases
from secure_agg.protocol.identity import Identity, Roster, by_id, is_id_order, verify_signature
from secure_agg.protocol.messages import ADVERTISE, Wire, decode, encode

_MAX_SETUP: Final = 1 << 16


class ChannelKey(Wire, frozen=True):
    """An aggregator's X25519 key, signed by it. Clients derive from it the keys that seal its shares.

    Attributes:
        name: id of the aggregator.
        identity: its identity key, 32 bytes, which everybody has pinned.
        channel: its X25519 public key, 32 bytes.
        signature: of both, by the identity key.
    """

    name: str
    identity: bytes
    channel: bytes
    signature: bytes

    @staticmethod
    def issue(identity: Identity, channel: bytes) -> ChannelKey:
        """Sign one's own channel key."""
        signed = frame("channel-key", identity.name.encode(), channel)
        return ChannelKey(identity.name, identity.public, channel, identity.sign(signed))

    def check(self) -> None:
        """Check the key and the signature; whether the identity is pinned is the caller's to check.

        Raises:
            BadKey: names the aggregator, which has signed it.
            BadSignature: anybody can have put it there: nobody is named.
        """
        signed = frame("channel-key", self.name.encode(), self.channel)
        verify_signature(self.identity, self.signature, signed, phase=ADVERTISE, culprit=None)
        try:
            check_public(self.channel)
        except KeyAgreementError as error:
            raise BadKey(str(error), phase=ADVERTISE, culprit=self.name) from error


class AggregatorSet(Wire, frozen=True):
    """The aggregators of a round, in id order. Its place in this order is an aggregator's number."""

    members: tuple[ChannelKey, ...]

    @staticmethod
    def of(members: list[ChannelKey]) -> AggregatorSet:
        """In id order."""
        return AggregatorSet(tuple(by_id(members)))

    def to_bytes(self) -> bytes:
        """The round's setup."""
        return encode(self)

    @property
    def bases(self) -> Bases:
        """Models that updates may be differences from: see ``BufferedSet``; none where rounds are not buffered."""
        return ()

    def with_bases(self, bases: Bases) -> BufferedSet:
        """The setup of a buffered round with these bases."""
        return BufferedSet(self.members, bases)

    @property
    def names(self) -> tuple[str, ...]:
        """Ids, in id order."""
        return tuple(member.name for member in self.members)

    def check_seat(self, name: str, channel: bytes) -> None:
        """Refuse to take part under another name or channel key than clients are told.

        Raises:
            PolicyViolation: somebody of that name has no share.
            BadKey: shares for it are sealed to another key.
        """
        keys = {member.name: member.channel for member in self.members}
        if name not in keys:
            raise PolicyViolation(f"{name!r} holds no shares of this round")
        if keys[name] != channel:
            raise BadKey(f"the setup names another channel key for {name!r}")

    @property
    def identities(self) -> Roster:
        """Identity keys by id."""
        return Roster({member.name: member.identity for member in self.members})


class BufferedSet(AggregatorSet, frozen=True):
    """The setup of a buffered round.

    Attributes:
        bases: the models that its updates may be differences from, the oldest first: see ``check_bases``.
    """

    bases: Bases


def with_bases(setup: bytes, bases: Bases) -> bytes:
    """The setup of a buffered round, from that of any round of these aggregators.

    Raises:
        MalformedMessage: it is none, or has bases already.
    """
    return decode(AggregatorSet, setup, _MAX_SETUP).with_bases(bases).to_bytes()


def read_setup(config: RoundConfig, setup: bytes | memoryview, parties: int) -> AggregatorSet:
    """Decode a round's setup and check it in itself.

    Raises:
        MalformedMessage: not canonical, or above 64 KiB.
        PolicyViolation: not the configured one.
        PolicyViolation: the bases of a buffered round are not those that there are.
        BadKey, BadSignature: another number of aggregators than the policy says, out of order, one key twice, or a
            channel key that its owner did not sign.
    """
    rule = config.policy.buffer
    found = decode(AggregatorSet if rule is None else BufferedSet, setup, _MAX_SETUP, phase=ADVERTISE)
    if setup_digest(setup) != config.setup:
        raise PolicyViolation("the set of aggregators is not the configured one", phase=ADVERTISE)
    if rule is not None:
        check_bases(
            found.bases,
            rule,
            base_model=config.base_model,
            previous_record=config.previous_record,
            start_model=config.start_model,
        )
    names = list(found.names)
    if len(names) != parties or not is_id_order(names):
        raise BadKey(f"{len(names)} aggregators, not {parties} in id order, each once", phase=ADVERTISE)
    if len({member.channel for member in found.members}) != parties:
        raise BadKey("two aggregators have the same channel key", phase=ADVERTISE)
    for member in found.members:
        member.check()
    try:
        found.identities  # noqa: B018 - refuses unfit and equal identity keys
    except ConfigError as error:
        raise BadKey(str(error), phase=ADVERTISE) from error
    return found
