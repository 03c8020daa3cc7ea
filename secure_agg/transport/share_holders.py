"""What is particular to share holders, of every backend that has them: their role, and the channel key on a card."""

from __future__ import annotations

from collections.abc import Iterable

from secure_agg.backends.contract.setup import AggregatorSet, ChannelKey
from secure_agg.errors import BadKey, ConfigError
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.trust import Trust
from secure_agg.transport.credentials import CONNECT, MAX_CARD, OperatorCard, OperatorKeys


def build_share_holder(keys: OperatorKeys, trust: Trust, store: AttemptStore) -> ShareHolder:
    """The role of a share holder.

    Args:
        keys: its own, with a channel key pair.
        trust: what it has pinned.
        store: durable, and the same after a restart.

    Raises:
        ConfigError: no channel key, or this identity is not the pinned operator of its name.
    """
    if keys.channel is None:
        raise ConfigError(f"the keys of {keys.name!r} have no channel key: clients can't seal shares to it")
    keys.check_pinned(trust.operators)
    return ShareHolder(keys.identity, trust, keys.channel, store=store, alone=True)


def share_holder_card(keys: OperatorKeys) -> OperatorCard:
    """The card of a share holder: with its signed channel key, if it has one."""
    if keys.channel is None:
        return keys.card()
    return keys.card(encode(ChannelKey.issue(keys.identity, keys.channel.public)))


def aggregator_set(cards: Iterable[OperatorCard], operators: Roster) -> AggregatorSet:
    """The public setup of a round whose share holders have these cards; ``to_bytes`` of it goes to the coordinator.

    Raises:
        RemoteProtocolError: a card is not its operator's, or holds no channel key of that operator; names it.
    """
    members = []
    for card in cards:
        card.check(operators)
        member = decode(ChannelKey, card.channel, MAX_CARD, phase=CONNECT, culprit=card.name)
        if (member.name, member.identity) != (card.name, card.identity):
            raise BadKey("a card with another operator's channel key", phase=CONNECT, culprit=card.name)
        member.check()
        members.append(member)
    return AggregatorSet.of(members)
