"""The operators of a task's rounds beside the aggregator: who they are, what they hold, and their roles."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mpc.keys import KeyPair
from secure_agg import backends
from secure_agg.backends.contract import KeyedBackend, Opener
from secure_agg.backends.contract.setup import AggregatorSet, ChannelKey
from secure_agg.errors import ConfigError
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity, in_id_order
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.trust import Trust

AGGREGATOR: Final = "aggregator"
KEY_HOLDERS: Final = tuple(f"keyholder-{i}" for i in range(1, 6))
AGGREGATORS: Final = tuple(f"aggregator-{i}" for i in range(1, 6))
OPERATORS: Final = (AGGREGATOR, *AGGREGATORS, *KEY_HOLDERS)
"""All operators that any backend may need: pinned with a ledger's first task, once for all tasks."""


def usual_names(policy: Policy) -> tuple[str, ...]:
    """Ids of the operators that a policy's backend has beside the aggregator, where one machine makes them all.

    Raises:
        ConfigError: the backend refuses the policy, or they are too many.
    """
    backend = backends.load(policy.backend)
    backend.check_policy(policy)
    names, count = KEY_HOLDERS if backend.keys else AGGREGATORS, backend.seats(policy).count
    if count > len(names):
        raise ConfigError(f"{count} operators, above the {len(names)} that one machine plays")
    return names[:count]


def needed_options(backend: str, key: object) -> dict[str, int]:
    """The options of a policy under which a key that was made elsewhere can be used.

    Raises:
        ConfigError: the backend has no key holder, or takes no such key.
    """
    return dict(_keyed(backend).settings(key))


def bring(config: RoundConfig, names: Collection[str], key: object) -> dict[str, Opener]:
    """What the one key holder of rounds like this one holds, who brings a key: see ``KeyedBackend.bring``.

    Raises:
        ConfigError: there are several holders, or it is no key for this policy.
    """
    if len(names) != 1:
        raise ConfigError(f"a key that is brought is whole: it is for one key holder, not for {len(names)}")
    return {name: _keyed(config.policy.backend).bring(config, key) for name in names}


def _keyed(backend: str) -> KeyedBackend:
    keyed = backends.load(backend).keys
    if keyed is None:
        raise ConfigError(f"backend {backend!r} has no key holder who could bring a key")
    return keyed


def staffed(config: RoundConfig, setup: bytes) -> RoundConfig:
    """The configuration of a round with this setup: as it was where a backend has none."""
    return msgspec.structs.replace(config, setup=setup_digest(setup)) if setup else config


@dataclass(frozen=True)
class Staff:
    """A backend's operators beside the aggregator, with what they hold. Of a backend without operators it is empty.

    Attributes:
        identities: theirs, by id.
        setup: the public material of the rounds that they serve: of key holders the certificate of their key, of share
            holders their channel keys.
        certificate: of key holders' key.
        openers: of key holders the key, or their parts of it, by id.
        channels: of share holders the key pairs that shares are sealed to, by id.
    """

    identities: Mapping[str, Identity] = field(default_factory=dict)
    setup: bytes = b""
    certificate: KeyCertificate | None = None
    openers: Mapping[str, Opener] = field(default_factory=dict, repr=False)
    channels: Mapping[str, KeyPair] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(
        config: RoundConfig,
        identities: Mapping[str, Identity],
        *,
        openers: Mapping[str, Opener] | None = None,
        channels: Mapping[str, KeyPair] | None = None,
    ) -> Staff:
        """The operators of rounds like this one, with fresh keys but for those that are given.

        Whoever makes a key sees it: where it is split among several holders, they trust the maker to forget it.

        Args:
            config: any round of the task, without a setup.
            identities: of all that the backend has, and of nobody else.
            openers, channels: what they hold, by id; for all of them or none.

        Raises:
            ConfigError: as many as these are not what the policy says, or the backend refuses the configuration.
        """
        policy = config.policy
        backend = backends.load(policy.backend)
        wanted = backend.seats(policy).count
        if len(identities) != wanted:
            raise ConfigError(
                f"operators named: {len(identities)}; by its policy the task has {wanted} ({backend.name})"
            )
        members = [identities[name] for name in in_id_order(identities)]
        if backend.keys:
            held = dict(openers or backend.keys.generate(config, [member.name for member in members]))
            public = held[members[0].name].public
            certificate = KeyCertificate.issue(backend.name, config.task, public, members)
            return Staff(dict(identities), certificate.to_bytes(), certificate, held)
        if backend.shares:
            pairs = dict(channels or {member.name: KeyPair.from_secret(os.urandom(32)) for member in members})
            signed = [ChannelKey.issue(member, pairs[member.name].public) for member in members]
            return Staff(dict(identities), AggregatorSet.of(signed).to_bytes(), channels=pairs)
        return Staff()

    def roles(self, trust: Trust, stores: Mapping[str, AttemptStore] | None = None) -> dict[str, OperatorRole]:
        """Each operator's role, by id.

        Args:
            trust: what they have pinned.
            stores: durable, by id; by default in memory, for one round.
        """
        stores = stores or {}
        return {name: self.role(name, trust, stores.get(name)) for name in self.identities}

    def role(self, name: str, trust: Trust, store: AttemptStore | None = None) -> OperatorRole:
        """One operator's role; see ``roles``."""
        identity = self.identities[name]
        if self.certificate is not None:
            return KeyHolder(identity, trust, self.openers[name], self.certificate, store=store)
        return ShareHolder(identity, trust, self.channels[name], store=store)
