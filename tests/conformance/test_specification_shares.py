"""docs/specification.md is complete for aggregators that hold shares: the evidence of `additive` and `crypten`.

As in ``test_specification`` a verifier written from that file alone gives the product's verdict: on rounds of the
product, on altered ones, and on forged ones that are signed by everybody and break one rule each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import conformance.independent_verifier as spec
import numpy as np
import pytest
from conformance.verdicts import flat, played, rearranged, verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from support.federation import identity
from support.shares.additive_round import A1, A2, ALL_OF_3, CHEAT, TWO_OF_4, only, play
from support.shares.additive_round import federation as additive
from support.shares.forged_shares import FF, SIZE, Shared, channel_key

import secure_agg
from secure_agg.backends.additive import rules as additive_rules
from secure_agg.backends.crypten import rules as crypten_rules
from secure_agg.errors import ConfigError
from secure_agg.protocol.claims import CLAIMS
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import MAX_CONFIG, decode

RULES: dict[str, Any] = {"additive": additive_rules, "crypten": crypten_rules}
THREE_OF_5 = {"aggregators": 5, "threshold": 3}

# --- rounds of the product ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"aggregators": 2}, ALL_OF_3, TWO_OF_4, THREE_OF_5], ids=str)
def test_accepts_the_additive_rounds_of_the_product(options: dict[str, int]) -> None:
    trust, evidence, _ = played(5, **options)
    assert verdict(evidence) == verdict(evidence, trust) is not None


def test_accepts_a_round_that_lost_a_client_and_an_aggregator() -> None:
    """Of five aggregators one is silent after the set is signed, and a client's letter to another is lost."""
    tape = play(additive(THREE_OF_5), only(CHEAT, A1, lambda _: None)).until("reveal-commitments")
    tape.answer_all(but=(A2,))
    tape.advance()
    tape.answer_all(but=(A2,))
    tape.advance()
    assert tape.aggregator.evidence is not None
    evidence = tape.aggregator.evidence
    assert len(evidence.participants) == 4
    assert verdict(evidence.to_bytes(), tape.federation.trust.to_json()) is not None


@cache
def crypten_round(**options: int) -> secure_agg.AggregationResult:
    rng = np.random.default_rng(1)
    updates = {name: [rng.normal(size=(2, 3)), rng.normal(size=4)] for name in ("a", "b", "c", "d", "e")}
    return secure_agg.aggregate(updates, backend="crypten", options=options)


@pytest.mark.parametrize(
    ("claim", "options"), [("sum", {"norm_bound_milli": 20000}), ("attested", {"function": 1, "trim": 1})]
)
def test_accepts_the_crypten_rounds_of_the_product(claim: str, options: dict[str, int]) -> None:
    result = crypten_round(**options)
    record = spec.verify(result.evidence.to_bytes(), claims=[claim])
    assert record["claim"] == claim
    assert record["encoding"] == result.record.to_bytes()
    assert record["average"].tobytes() == flat(result.average).tobytes()


def test_both_accept_what_was_asked_for_only() -> None:
    evidence = crypten_round(function=1, trim=1).evidence.to_bytes()
    assert verdict(evidence) is None
    assert verdict(evidence, claims=["sum"]) is None
    assert verdict(evidence, claims=["attested"]) == verdict(evidence, claims=CLAIMS) is not None
    bounded = crypten_round(norm_bound_milli=20000).evidence.to_bytes()
    assert verdict(bounded) == verdict(bounded, claims=CLAIMS) is not None
    assert verdict(bounded, claims=["attested"]) is None


@pytest.mark.parametrize("options", [ALL_OF_3, TWO_OF_4], ids=str)
def test_accepts_and_refuses_the_same_pins(options: dict[str, int]) -> None:
    trust, evidence, _ = played(5, **options)
    stranger = identity("stranger").public.hex()
    alterations: list[Callable[[dict[str, Any]], object]] = [
        lambda pins: pins["tasks"]["task"]["roster"].pop("c003"),
        lambda pins: pins["tasks"]["task"]["roster"].update(c003=stranger),
        lambda pins: pins["tasks"]["task"]["policy"].update(options={"aggregators": 2}),
        lambda pins: pins["tasks"]["task"]["policy"].update(backend="plain", options={}),
        lambda pins: pins["operators"].update({A1: stranger}),
        lambda pins: pins["operators"].pop(A1),
        lambda pins: pins["operators"].pop("aggregator"),
        lambda pins: pins["operators"].clear(),
        lambda pins: pins.update(log=stranger),
        lambda pins: pins["tasks"]["task"].update(claims=["attested"]),
        lambda pins: pins["tasks"]["task"].update(claims=["attested", "sum"]),
        lambda pins: pins["tasks"]["task"].update(claims=[]),
        lambda pins: pins["tasks"]["task"].pop("claims"),
    ]
    for alter in alterations:
        pins = json.loads(trust)
        alter(pins)
        assert verdict(evidence, json.dumps(pins)) is None


# --- altered evidence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["all", "threshold", "attested"])
@settings(max_examples=60)
@given(data=st.data())
def test_flipped_bits_are_refused_by_both(kind: str, data: st.DataObject) -> None:
    if kind == "attested":
        evidence = crypten_round(function=1, trim=1).evidence.to_bytes()
    else:
        _, evidence, _ = played(5, **(ALL_OF_3 if kind == "all" else TWO_OF_4))
    header = 4 + int.from_bytes(evidence[:4], "little")
    regions = [(0, 4000), (0, header), (header - 2000, header), (header, len(evidence))]
    first, last = data.draw(st.sampled_from(regions))
    positions = data.draw(st.sets(st.integers(8 * first, 8 * last - 1), min_size=1, max_size=3))
    altered = bytearray(evidence)
    for position in positions:
        altered[position // 8] ^= 1 << position % 8
    assert verdict(bytes(altered), claims=CLAIMS) is None


@pytest.mark.parametrize("part", ["advertisements", "openings", "agreement"])
def test_rearranged_lists_are_refused_by_both(part: str) -> None:
    _, evidence, _ = played(5, **ALL_OF_3)
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda fields: fields[part].reverse(),
        lambda fields: fields[part].append(fields[part][-1]),
        lambda fields: fields[part].clear(),
        lambda fields: fields.update({part: fields[part][:2]}),
        lambda fields: fields.update({part: [{**item, "name": "c000"} for item in fields[part]]}),
        lambda fields: fields[part][0].update(name="nobody"),
        lambda fields: fields.update(attestation=fields["agreement"]),
        lambda fields: fields.update(setup=b""),
        lambda fields: fields.update(setup=fields["setup"] + b"\0"),
    ]
    for change in changes:
        assert verdict(rearranged(evidence, change)) is None


def test_the_same_shares_opened_by_fewer_are_other_evidence_for_the_same_sum() -> None:
    """Any two of four aggregators show the same commitment; of the record only the hash of the evidence differs."""
    _, evidence, _ = played(5, **TWO_OF_4)
    full = verdict(evidence)
    assert full is not None

    def fewer(fields: dict[str, Any], places: tuple[int, ...]) -> None:
        for item in fields["openings"]:
            shown = spec.decode("OpenedShares", item["nonce"], 4096)
            size = len(item["commitment"]) // 4
            nonces = b"".join(shown["nonces"][32 * i : 32 * (i + 1)] for i in places)
            item["commitment"] = b"".join(item["commitment"][size * i : size * (i + 1)] for i in places)
            item["nonce"] = spec.encode("OpenedShares", {"parties": list(places), "nonces": nonces})

    for places in ((0, 1), (1, 3), (0, 2, 3)):
        other = verdict(rearranged(evidence, partial(fewer, places=places)))
        assert other is not None
        assert other[:-32] == full[:-32]
    for places in ((), (2,), (2, 1), (1, 1)):
        assert verdict(rearranged(evidence, partial(fewer, places=places))) is None


# --- forged rounds -----------------------------------------------------------------------------------------


def put(place: int, key: dict[str, Any]) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda members: members.__setitem__(place, key)


def of(name: str, altered: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda client, data: altered(data) if client == name else data


def off_by_one(party: int) -> Callable[[int, np.ndarray], np.ndarray]:
    def share(a: int, vector: np.ndarray) -> np.ndarray:
        vector[0] = (vector[0] + (a == party)) % spec.P
        return vector

    return share


def spelled_otherwise(party: int) -> Callable[[int, bytes], bytes]:
    return lambda a, data: FF * len(data) if a == party else data


NORM = {"norm_bound_milli": 20000}
TRIMMED = {"function": 1, "trim": 1}
crypten = partial(Shared, "crypten")
trimmed = partial(Shared, "crypten", TRIMMED, {"min_clients": 3})


@pytest.mark.parametrize(
    "forgery",
    [
        Shared(),
        Shared(options=TWO_OF_4),
        Shared(options={"aggregators": 16, "threshold": 9}),
        Shared(policy={"options": []}),
        Shared(silent=1),
        Shared(options=TWO_OF_4, signers=lambda names: names[1:]),
        Shared(options=TWO_OF_4, parties=lambda name: [0, 3] if name == "c1" else [0, 1, 2]),
        Shared(options=TWO_OF_4, share=off_by_one(3), parties=lambda _: [0, 1, 2]),  # nobody has seen that share
        Shared(options=TWO_OF_4, committed=spelled_otherwise(3), parties=lambda _: [0, 1, 2]),
        Shared(silent=1, hashed=of("c3", lambda _: bytes(32))),  # it is not in the set
        Shared(silent=1, part=of("c3", lambda _: bytes(64))),
        Shared(values=(300, 1, 1, 1)),  # only the sum is checked
        Shared(policy={"max_weight": 10}, weight=3),
        crypten(NORM),
        crypten({**NORM, "aggregators": 5, "trim": 0}),
        crypten(NORM, {"max_weight": 10, "max_clients": 64}, weight=3),
        crypten({"norm_bound_milli": 2**32 - 1}),
        trimmed(),
        trimmed(silent=1),
        crypten({"function": 1, "trim": 2}, {"min_clients": 5, "min_advertised": 5}, (1, 2, 3, 4, 9)),
        crypten({"function": 2}),
        crypten({"function": 2, "aggregators": 2}, silent=1),
        trimmed(result=lambda sums: sums.__setitem__(0, 2 * 255)),  # the parties' word
    ],
    ids=str,
)
def test_both_accept_what_the_rules_allow(forgery: Shared) -> None:
    assert verdict(forgery.evidence(), json.dumps(forgery.trust())) is not None


@pytest.mark.parametrize(
    ("reason", "forgery"),
    [
        ("an option is unknown or out of range", Shared(options={"aggregators": 17})),
        ("an option is unknown or out of range", Shared(options={"aggregators": 1})),
        ("an option is unknown or out of range", Shared(options={"threshold": 1})),
        ("an option is unknown or out of range", Shared(options={"norm_bound_milli": 0})),
        ("the threshold is too large", Shared(options={"threshold": 4})),
        ("too few or too many openings", Shared(silent=2)),
        ("too few signatures", Shared(signers=lambda names: names[:2])),
        ("too few signatures", Shared(options=TWO_OF_4, signers=lambda names: names[:2])),
        ("too few signatures", Shared(options=THREE_OF_5, signers=lambda names: names[:3])),
        ("signers are out of order", Shared(signers=lambda names: names[::-1])),
        ("signers are out of order", Shared(signers=lambda names: [names[0], *names])),
        ("a signer is unknown", Shared(signers=lambda names: [*names, "c0"])),
        ("a signer is unknown", Shared(signers=lambda names: [*names, "coordinator"])),
        ("a signer is unknown", Shared(signers=lambda _: ["c0", "c1", "c2", "c3"])),
        ("too few parties", Shared(parties=lambda _: [0, 1])),
        ("too few parties", Shared(options=TWO_OF_4, parties=lambda _: [1])),
        ("parties are out of order", Shared(options=TWO_OF_4, parties=lambda _: [2, 1])),
        ("parties are out of order", Shared(options=TWO_OF_4, parties=lambda _: [1, 1, 2])),
        ("there is no such party", Shared(options=TWO_OF_4, parties=lambda _: [1, 2, 4])),
        ("on no polynomial", Shared(options=TWO_OF_4, share=off_by_one(3))),
        ("combine to another commitment", Shared(options=TWO_OF_4, share=off_by_one(3), parties=lambda _: [0, 3])),
        ("combine to another commitment", Shared(share=off_by_one(1))),
        ("combine to another commitment", Shared(whole=of("c1", lambda made: bytes(len(made))))),
        ("combine to another commitment", Shared(part=of("c3", lambda part: part + bytes(32)))),
        ("combine to another commitment", Shared(part=of("c3", lambda part: part[:-32]))),
        ("the commitment of a share is not canonical", Shared(committed=spelled_otherwise(2))),
        ("the commitment of a share is not canonical", Shared(options=TWO_OF_4, committed=spelled_otherwise(3))),
        ("the commitments have a wrong length", Shared(committed=lambda a, data: data[: len(data) - 4 * a])),
        ("a commitment is there twice", Shared(same=True, values=(5, 5, 5, 5))),
        ("the opening of c1 is not what was advertised", Shared(hashed=of("c1", lambda _: bytes(32)))),
        ("the opening of c1 is not what was advertised", crypten(NORM, hashed=of("c1", lambda _: bytes(32)))),
        ("a share is not what was advertised", Shared(part=of("c1", lambda part: part[32:64] + part[32:]))),
        ("a share is not what was advertised", Shared(part=of("c1", lambda part: part[:64]))),
        ("the backend part has a wrong length", Shared(part=of("c1", lambda _: b""))),
        ("the backend part has a wrong length", Shared(silent=1, part=of("c3", lambda part: part[:95]))),
        ("a sum is out of range", Shared(values=(300, 300, 300, 300))),
        ("do not open the sum", Shared(result=lambda sums: sums.__setitem__(0, sums[0] + 1))),
        ("a part that this backend has not", Shared(fields=lambda f: f.update(attestation=f["agreement"]))),
        ("OpenedShares is no", Shared(fields=lambda f: f["openings"][0].update(nonce=bytes(32)))),
        ("an aggregator who is not pinned", Shared(setup=put(2, channel_key("zz")))),
        ("an aggregator who is not pinned", Shared(setup=put(2, channel_key("c0")))),
        ("another number of aggregators", Shared(setup=lambda members: members.pop())),
        ("another number of aggregators", Shared(setup=lambda members: members.append(channel_key("zz")))),
        ("members are out of order", Shared(setup=lambda members: members.reverse())),
        ("an identity key is there twice", Shared(setup=put(2, channel_key("zz", identity="a00")))),
        (
            "a channel key is there twice",
            Shared(setup=lambda members: members.__setitem__(2, channel_key("a02", members[0]["channel"]))),
        ),
        ("key is of low order", Shared(setup=put(2, channel_key("a02", bytes(32))))),
        ("key is not reduced", Shared(setup=put(2, channel_key("a02", (2**255 + 9).to_bytes(32, "little"))))),
        ("wrong signature", Shared(setup=lambda members: members[2].update(signature=bytes(64)))),
        ("an id has a character that ids don't have", Shared(setup=put(0, channel_key("\n")))),
        ("an option is unknown or out of range", crypten({**NORM, "aggregators": 6})),
        ("an option is unknown or out of range", crypten({**NORM, "threshold": 2})),
        ("too many clients", crypten(NORM, {"max_clients": 65})),
        ("no norm bound", crypten()),
        ("no norm bound", crypten({"norm_bound_milli": 1})),
        ("trim for another function", crypten({**NORM, "trim": 1})),
        ("trim for another function", crypten({"function": 2, "trim": 1})),
        ("a norm bound for another function", crypten({"function": 2, **NORM})),
        ("trim is out of range", crypten({"function": 1}, {"min_clients": 3})),
        ("trim is out of range", crypten(TRIMMED)),
        ("an order statistic has no weights", crypten({"function": 2}, {"max_weight": 2})),
        ("too few signatures", crypten(NORM, signers=lambda names: names[:2])),
        ("a backend part in", crypten(NORM, part=of("c1", lambda _: b"x"))),
        ("a part that this backend has not", crypten(NORM, fields=lambda f: f.update(attestation=f["agreement"]))),
        ("too few signatures", trimmed(attesters=lambda names: names[:2])),
        ("signers are out of order", trimmed(attesters=lambda names: names[::-1])),
        ("a signer is unknown", trimmed(attesters=lambda names: [*names[:2], "coordinator"])),
        ("wrong signature", trimmed(fields=lambda f: f.update(attestation=f["agreement"]))),
        ("a sum is out of range", trimmed(result=lambda sums: sums.__setitem__(0, 2 * 255 + 1))),
        ("randomness in a result that is no sum", trimmed(result=lambda sums: sums.__setitem__(-1, 1))),
        ("the sum of the weights is out of range", trimmed(result=lambda sums: sums.__setitem__(SIZE, 3))),
        ("the sum of the weights is out of range", trimmed(result=lambda sums: sums.__setitem__(SIZE, 1))),
        ("another result than stated", trimmed(fields=lambda f: f.update(result_model=bytes(32)))),
    ],
    ids=str,
)
def test_both_refuse_what_breaks_a_rule(reason: str, forgery: Shared) -> None:
    """Nothing else is wrong: the independent verifier names the rule."""
    evidence, pins = forgery.evidence(), forgery.trust()
    assert verdict(evidence, json.dumps(pins)) is None
    with pytest.raises(ValueError, match=re.escape(reason)):
        spec.verify(evidence, pins)


def test_vectors_that_are_too_long_to_be_shared_are_refused_by_both() -> None:
    """Evidence of these would take gigabytes: only the limits are compared."""
    for backend, options, policy, longest in (
        ("additive", {}, {"bits": 8, "commit_packed": False}, 2**29 - 2560 - 1 - 5),
        ("additive", {}, {"bits": 8}, 2 * (2**29 - 2560 - 5) - 1),
        ("crypten", {"function": 2}, {"bits": 8, "max_clients": 4}, (2**30 - 4 * (2560 + 1 + 2)) // 5),
        ("crypten", {"function": 2, "aggregators": 5}, {"bits": 8, "max_clients": 3}, 2**28 - 2560 - 1 - 3),
        ("crypten", NORM, {"bits": 24}, 2**63 // (2**24 - 1) ** 2),
    ):
        for size, accepted in ((longest, True), (longest + 1, False)):
            forged = Shared(backend, options, {**policy, "max_parameters": 2**32}, values=(1, 2, 3))
            fields = forged.config(b"") | {"shapes": [[size]]}
            config = decode(RoundConfig, spec.encode("RoundConfig", fields), MAX_CONFIG)
            for check, error in (
                (partial(RULES[backend].check_size, config), ConfigError),
                (partial(spec.check_size, fields), ValueError),
            ):
                if accepted:
                    check()
                else:
                    with pytest.raises(error):
                        check()
