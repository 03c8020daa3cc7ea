"""Simulated clients check once for all of them what all are shown: the same round, and the same refusals."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.federation import Federation, identity
from support.source_tree import imports

import secure_agg
from secure_agg.backends.masking import rules
from secure_agg.errors import BadSignature, ConfigError, RemoteProtocolError, VerificationError
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol import messages
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import (
    ADVERTISE,
    CONSISTENCY,
    RESULT,
    AdvertisementList,
    Agreed,
    Envelope,
    SignedAdvertisement,
    decode,
    encode,
    peek,
    unpack,
    write,
)
from secure_agg.roles.client.client import Client
from secure_agg.roles.client.shared import SharedChecks

LIMIT = 1 << 20
SPARSE = 40


def entropy(name: str) -> Callable[[int], bytes]:
    return lambda size: hashlib.shake_256(name.encode()).digest(size)


def simulated(federation: Federation, *, share: bool, silent: Mapping[str, str] | None = None) -> LocalRound:
    """A round of clients without randomness of their own."""
    shared = SharedChecks(federation.trust) if share else None
    clients = {
        name: Client(identity(name), federation.trust, shared=shared, entropy=entropy(name))
        for name in federation.names
    }
    return LocalRound(federation.aggregator(), clients, federation.updates, None, silent, federation.staff())


@pytest.mark.parametrize(
    "case",
    [
        {"n": 7},
        {"n": 7, "options": {"screening": 1}},
        {"n": 7, "backend": "plain"},
        {"n": 5, "backend": "additive"},
        {"n": SPARSE, "shapes": ((4,),), "options": {"complete_up_to": 0}},
    ],
    ids=["complete", "screened", "plain", "additive", "sparse"],
)
def test_a_round_is_the_same_to_the_last_byte(case: dict[str, Any]) -> None:
    silent = {"c001": CONSISTENCY}
    alone, together = (simulated(Federation(**case), share=share, silent=silent) for share in (False, True))
    assert together.run().to_bytes() == alone.run().to_bytes()
    assert together.traffic == alone.traffic
    one, all_of = alone.deliver(), together.deliver()
    assert one.keys() == all_of.keys() == together.clients.keys() - {"c001"}
    assert {item.record for item in one.values()} == {item.record for item in all_of.values()}
    session = together.aggregator.session
    assert session is not None
    if case["n"] == SPARSE:
        assert not rules.plan(session).complete


def test_signatures_are_checked_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: Counter[int] = Counter()
    verify = verify_signature

    def counting(*given: Any, **named: Any) -> None:
        checked[size] += 1
        verify(*given, **named)

    monkeypatch.setattr(messages, "verify_signature", counting)
    for size in (10, 20, 40):
        secure_agg.aggregate({f"c{i:02d}": [np.full(3, 0.5)] for i in range(size)})
    assert checked[40] - checked[20] == 2 * (checked[20] - checked[10])  # a line: apart it would be a parabola


def test_nobody_but_a_simulation_shares_checks() -> None:
    """Who makes them, by the source; and a client that is made as a deployed one is has none."""
    of_them = {"secure_agg.roles.client.client", "secure_agg.roles.client.joined", "secure_agg.roles.client.result"}
    of_them |= {"secure_agg.roles.client.sets", "secure_agg.roles.tree.shared"}
    shared = "secure_agg.roles.client.shared"
    users = {arrow.importer for arrow in imports() if arrow.imported.startswith(shared)}
    assert users == of_them | {"secure_agg.local.aggregate"}
    of_trees = {arrow.importer for arrow in imports() if arrow.imported.startswith("secure_agg.roles.tree.shared")}
    assert of_trees == {"secure_agg.roles.tree.member", "secure_agg.local.trees", "benchmarks.trees.whole"}
    federation = Federation()
    assert Client(identity("c000"), federation.trust)._shared is None


def test_two_clients_on_their_own_hold_two_sessions() -> None:
    """What is found once for a session is found by each client that has made its own."""
    local = Federation().round()
    local.run()
    sessions = [client._joined.session for client in local.clients.values()]  # type: ignore[union-attr]
    assert len({id(session) for session in sessions}) == len(sessions)


def test_clients_with_other_pins_take_no_part_in_it() -> None:
    federation = Federation()
    with pytest.raises(ConfigError, match="'c001' has pinned something else"):
        Client(identity("c001"), replace(federation.trust), shared=SharedChecks(federation.trust))


# --- a client that is shown something else checks it for itself -------------------------------------------------


def altered(local: LocalRound, envelope: Envelope, body: bytes, bulk: bytes = b"") -> bytes:
    """A request with another body, which the aggregator has signed."""
    header = peek(envelope.data, LIMIT)
    return write(identity("aggregator"), header.session, header.phase, header.recipient, body, bulk)


def until(local: LocalRound, phase: str) -> list[Envelope]:
    """The requests of a phase, which nobody has answered."""
    requests = list(local.aggregator.start())
    while local.aggregator.state != phase:
        local.exchange(requests)
        requests = list(local.aggregator.advance())
    return requests


def test_an_advertisement_that_one_client_alone_is_shown_is_refused_by_it() -> None:
    local = simulated(Federation(), share=True)
    first, second, *_ = until(local, rules.SHARE_KEYS)
    local.answer(first, rules.SHARE_KEYS)
    listed = decode(AdvertisementList, peek(second.data, LIMIT).body, LIMIT)
    forged = [*listed.advertisements]
    forged[3] = SignedAdvertisement(forged[3].name, forged[3].body, bytes(64))
    for _ in range(2):  # nothing is remembered of what was refused
        with pytest.raises(BadSignature) as caught:
            local.clients[second.recipient].receive(
                altered(local, second, encode(AdvertisementList(tuple(forged), listed.backend)))
            )
    assert caught.value.phase == ADVERTISE
    assert local.answer(second, rules.SHARE_KEYS)


def test_a_quorum_that_one_client_alone_is_shown_is_refused_by_it() -> None:
    local = simulated(Federation(), share=True)
    first, second, *_ = until(local, rules.UNMASK)
    local.answer(first, rules.UNMASK)
    agreed = decode(Agreed, peek(second.data, LIMIT).body, LIMIT)
    forged = [*agreed.signatures]
    forged[-1] = replace_signature(forged[-1])
    with pytest.raises(RemoteProtocolError):
        local.clients[second.recipient].receive(altered(local, second, encode(Agreed(tuple(forged), agreed.backend))))
    assert local.answer(second, rules.UNMASK)


def replace_signature(signature: messages.Signature) -> messages.Signature:
    return messages.Signature(signature.name, signature.signature[:-1] + bytes([signature.signature[-1] ^ 1]))


def test_a_result_that_one_client_alone_is_shown_is_refused_by_it() -> None:
    local = simulated(Federation(), share=True)
    local.run()
    first, second, *_ = local.aggregator.results()
    local.clients[first.recipient].finish(first.data)
    evidence = bytearray(unpack(second.data, LIMIT)[1])
    evidence[-4] ^= 1
    header = peek(second.data, LIMIT)
    false = write(identity("aggregator"), header.session, RESULT, second.recipient, b"", bytes(evidence))
    with pytest.raises(VerificationError):
        local.clients[second.recipient].finish(false)
    found = local.clients[second.recipient].finish(second.data)
    with pytest.raises(ValueError, match="read-only"):
        found.average[0][0] = 1.0
