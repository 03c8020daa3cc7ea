"""Who serves a task's rounds beside the aggregator: as many as the policy says, with keys that belong together."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from support.federation import Federation, channel, identity

from secure_agg import backends
from secure_agg.errors import ConfigError
from secure_agg.local.staff import AGGREGATORS, KEY_HOLDERS, Staff, staffed, usual_names
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.roles.keyholder import KeyHolder
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.shareholder import ShareHolder


def unstaffed(backend: str, options: Mapping[str, int] | None = None) -> tuple[Federation, RoundConfig]:
    federation = Federation(4, backend=backend, options=options or {})
    return federation, federation.config(setup=b"")


@pytest.mark.parametrize(
    ("backend", "options", "names"),
    [
        ("masking", {}, ()),
        ("bfv", {}, KEY_HOLDERS[:1]),
        ("paillier", {"holders": 4}, KEY_HOLDERS[:4]),
        ("additive", {"aggregators": 5}, AGGREGATORS),
    ],
)
def test_names_are_as_many_as_the_policy_has_seats(backend: str, options: dict[str, int], names: tuple[str]) -> None:
    assert usual_names(Policy.default(4, backend=backend, options=Option.list(options))) == names


def test_one_machine_plays_five_at_most() -> None:
    with pytest.raises(ConfigError, match="6 operators, above the 5"):
        usual_names(Policy.default(4, backend="additive", options=Option.list({"aggregators": 6})))


def test_a_backend_without_operators_has_no_staff_and_no_setup() -> None:
    federation, config = unstaffed("masking")
    staff = Staff.of(config, {})
    assert (staff.setup, staff.roles(federation.trust)) == (b"", {})
    assert staffed(config, staff.setup) == config


@pytest.mark.parametrize(("backend", "given"), [("masking", 1), ("bfv", 0), ("bfv", 2), ("additive", 2)])
def test_another_number_than_the_policys_is_refused(backend: str, given: int) -> None:
    _, config = unstaffed(backend)
    with pytest.raises(ConfigError, match=f"operators named: {given}; by its policy the task has"):
        Staff.of(config, {name: identity(name) for name in AGGREGATORS[:given]})


def test_key_holders_vouch_for_the_key_that_they_hold_and_keep_what_they_have_opened() -> None:
    federation, config = unstaffed("bfv")
    staff = Staff.of(config, {name: identity(name) for name in federation.holder_names}, openers=federation.openers)
    backends.load("bfv").check_setup(staffed(config, staff.setup), staff.setup, federation.trust.operators)
    store = AttemptStore()
    (role,) = staff.roles(federation.trust, {federation.holder_names[0]: store}).values()
    assert isinstance(role, KeyHolder)
    assert role._store is store
    assert role.certificate == staff.certificate


def test_share_holders_have_the_channel_keys_that_the_setup_names() -> None:
    federation, config = unstaffed("additive")
    members = {name: identity(name) for name in federation.share_holder_names}
    given = Staff.of(config, members, channels={name: channel(name) for name in members})
    assert given.setup == federation.setup
    fresh = Staff.of(config, members)
    assert fresh.setup != given.setup
    shares = backends.load("additive").shares
    assert shares is not None
    named = shares.share_holders(staffed(config, fresh.setup), fresh.setup)
    for name, role in fresh.roles(federation.trust).items():
        assert isinstance(role, ShareHolder)
        named.check_seat(name, fresh.channels[name].public)


def test_nothing_secret_is_shown() -> None:
    federation, config = unstaffed("additive")
    staff = Staff.of(config, {name: identity(name) for name in federation.share_holder_names})
    assert all(repr(pair.secret) not in repr(staff) for pair in staff.channels.values())
    assert "channels" not in repr(staff)
