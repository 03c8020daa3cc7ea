"""The operators of a round in one process: who they are, and their keys and roles, made for this round."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mpc.keys import KeyPair
from secure_agg import backends
from secure_agg.backends.additive.setup import AggregatorSet, ChannelKey
from secure_agg.backends.contract import Backend
from secure_agg.errors import ConfigError
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Identity
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.operators import OperatorRole
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.trust import Trust

AGGREGATOR: Final = "aggregator"
KEY_HOLDERS: Final = tuple(f"keyholder-{i}" for i in range(1, 6))
AGGREGATORS: Final = tuple(f"aggregator-{i}" for i in range(1, 6))
OPERATORS: Final = (AGGREGATOR, *AGGREGATORS, *KEY_HOLDERS)
"""All operators that any backend may need: pinned with a ledger's first task, once for all tasks."""


def check_staff(policy: Policy) -> None:
    """See that one process can play all the operators that a backend needs.

    Raises:
        ConfigError: they are too many.
    """
    backend = backends.load(policy.backend)
    backend.check_policy(policy)
    _names("key holders", KEY_HOLDERS, backend.holders(policy))
    _names("aggregators", AGGREGATORS, backend.aggregators(policy))


def staff(
    config: RoundConfig, trust: Trust, operators: Mapping[str, Identity]
) -> tuple[RoundConfig, bytes, dict[str, OperatorRole]]:
    """The operators that a backend needs beside the aggregator, with fresh keys for this round.

    Args:
        config: of the round, without a setup.
        trust: what the operators pin.
        operators: those of ``OPERATORS`` that the backend needs, by id.

    Returns:
        The configuration that names the keys, the setup for the aggregator, and the operators' roles by id: the
        configuration as it was and nothing else for a backend that has none.
    """
    backend = backends.load(config.policy.backend)
    backend.check_policy(config.policy)
    if backend.holders(config.policy):
        return _key_holders(backend, config, trust, operators)
    if backend.aggregators(config.policy):
        return _share_holders(backend, config, trust, operators)
    return config, b"", {}


def _names(what: str, names: Sequence[str], count: int) -> Sequence[str]:
    if count > len(names):
        raise ConfigError(f"{count} {what}, above the {len(names)} that one process plays")
    return names[:count]


def _key_holders(
    backend: Backend, config: RoundConfig, trust: Trust, operators: Mapping[str, Identity]
) -> tuple[RoundConfig, bytes, dict[str, OperatorRole]]:
    """For a homomorphic backend: a fresh key, certified by those who hold it."""
    names = _names("key holders", KEY_HOLDERS, backend.holders(config.policy))
    openers = backend.generate(config, names)
    public = openers[names[0]].public
    certificate = KeyCertificate.issue(backend.name, config.task, public, [operators[name] for name in names])
    setup = certificate.to_bytes()
    roles: dict[str, OperatorRole] = {
        name: KeyHolder(operators[name], trust, opener, certificate) for name, opener in openers.items()
    }
    return msgspec.structs.replace(config, setup=setup_digest(setup)), setup, roles


def _share_holders(
    backend: Backend, config: RoundConfig, trust: Trust, operators: Mapping[str, Identity]
) -> tuple[RoundConfig, bytes, dict[str, OperatorRole]]:
    """For a backend whose aggregators share the sum: fresh channel keys, signed by them."""
    names = _names("aggregators", AGGREGATORS, backend.aggregators(config.policy))
    channels = {name: KeyPair.from_secret(os.urandom(32)) for name in names}
    setup = AggregatorSet.of([ChannelKey.issue(operators[name], channels[name].public) for name in names]).to_bytes()
    roles: dict[str, OperatorRole] = {name: ShareHolder(operators[name], trust, channels[name]) for name in names}
    return msgspec.structs.replace(config, setup=setup_digest(setup)), setup, roles
