"""A file that says what a policy is to be, before anybody has made it, and which limits it has to keep: TOML.

.. code-block:: toml

    clients = 12
    parameters = 10_000
    preset = "hospitals"

    [policy]            # arguments of ``Policy.default``
    clip = 1.0
    norm_bound = 5.0

    [privacy]           # of ``Privacy``
    [options]           # the backend's own
    [[groups]]          # of ``Group``
    [limits]            # figures by name
    seconds = 60
    client.sent = 2e6
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from secure_agg.errors import ConfigError
from secure_agg.preflight.limits import check_limits, flat
from secure_agg.preflight.subject import Subject
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import Group, Option, Policy
from secure_agg.protocol.config.presets import preset
from secure_agg.protocol.ready import ready


class _Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of ``Policy.default`` that a file can give; what is not there is as it is by default."""

    backend: str | UnsetType = UNSET
    clip: float | UnsetType = UNSET
    bits: int | UnsetType = UNSET
    commit_packed: bool | UnsetType = UNSET
    max_error: float | UnsetType = UNSET
    max_weight: int | UnsetType = UNSET
    weight_scale: int | UnsetType = UNSET
    weight_span: int | UnsetType = UNSET
    first_weight: int | UnsetType = UNSET
    min_clients: int | UnsetType = UNSET
    max_clients: int | UnsetType = UNSET
    cohort_size: int | UnsetType = UNSET
    corruption_rate: float | UnsetType = UNSET
    dropout: float | UnsetType = UNSET
    max_parameters: int | UnsetType = UNSET
    norm_bound: float | UnsetType = UNSET
    norm_excess: str | UnsetType = UNSET
    norm_outside: int | UnsetType = UNSET


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of settings; see the module."""

    clients: int
    parameters: int | None = None
    rounds: int | None = None
    lost: float = 0.0
    preset: str | None = None
    policy: _Policy = _Policy()
    options: dict[str, int] = {}
    privacy: Privacy | None = None
    groups: tuple[Group, ...] = ()
    limits: dict[str, Any] = {}


def read_settings(text: str, where: str) -> tuple[Subject, dict[str, float]]:
    """What a file of settings says, and the limits that it sets.

    Args:
        text: of the file.
        where: it is, for errors.

    Raises:
        ConfigError: it is none, or says what can't be.
    """
    try:
        document = tomllib.loads(text)
        groups = [_array(Group, group) for group in document.pop("groups", [])]
        found = msgspec.convert({**document, "groups": groups}, ready(_File))
        limits = flat(found.limits)
    except (tomllib.TOMLDecodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{where} holds no settings of a policy: {error}") from None
    named = {name: value for name in _Policy.__struct_fields__ if (value := getattr(found.policy, name)) is not UNSET}
    policy = policy_of(
        found.clients, found.preset, named, privacy=found.privacy, groups=found.groups, options=found.options
    )
    subject = Subject(
        policy=policy, clients=found.clients, parameters=found.parameters, rounds=found.rounds, lost=found.lost
    )
    return subject, check_limits(limits)


def policy_of(
    clients: int,
    preset_name: str | None,
    named: Mapping[str, Any],
    *,
    privacy: Privacy | None = None,
    groups: tuple[Group, ...] = (),
    options: Mapping[str, int] | None = None,
) -> Policy:
    """A policy from the settings of a preset, and those that are named.

    Raises:
        ConfigError: there is no such preset, or a setting is out of range.
    """
    usual = dict(preset(preset_name).settings) if preset_name is not None else {}
    own = Option.list(options or {})
    return Policy.default(clients, **(usual | dict(named)), privacy=privacy, groups=groups, options=own)


def _array(kind: type[Any], table: Mapping[str, Any]) -> list[Any]:
    """A table as the array that a ``Wire`` is; what it leaves out is as it is by default."""
    unknown = sorted(set(table) - set(kind.__struct_fields__))
    if unknown:
        raise ValueError(f"a {kind.__name__.lower()} has no setting {unknown[0]!r}")
    usual = dict(zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False))
    return [table[name] if name in table else usual[name] for name in kind.__struct_fields__]
