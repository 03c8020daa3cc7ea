"""docs/specification.md is complete for what can be proved of a party, and for operators' cards.

A verifier written from that file alone finds the same culprits as the product, and is convinced by nothing else.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import conformance.independent_card as spec_card
import conformance.independent_faults as spec_faults
import conformance.independent_verifier as spec
import msgspec
import numpy as np
import pytest
from conformance.verdicts import fault_verdict, played
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from support.federation import Federation, Tape, bulk_of, edit, forge, header_of, identity
from support.federation import replace as changed
from support.shares.additive_round import (
    A1,
    A2,
    A3,
    ALL_OF_3,
    CHEAT,
    TWO_OF_4,
    Play,
    commitment_bytes,
    flipped,
    open_letter,
    reseal,
)
from support.shares.additive_round import federation as additive
from support.shares.additive_round import proof as proof_of
from support.shares.forged_shares import FF, public

from secure_agg.backends.additive.wire import Revealed, ShareLetter
from secure_agg.errors import RemoteProtocolError
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Advertisement
from secure_agg.roles.client.client import Client
from secure_agg.transport.credentials import OperatorCard, OperatorKeys

# --- proofs of fault ---------------------------------------------------------------------------------------


def fault(tape: Tape, kind: str, culprit: str, *exhibits: bytes) -> FaultProof:
    changes = {"setup": b""} if kind == "two-advertisements" else {}
    return proof_of(tape, kind, culprit, identity(culprit).public, *exhibits, **changes)


def advertisement(data: bytes, **changes: Any) -> bytes:
    """The SignedAdvertisement in a client's message."""
    header = header_of(data)
    fields = {"name": header.sender, "body": header.body, "signature": header.signature} | changes
    return spec.encode("SignedAdvertisement", fields)


def statement(tape: Play) -> bytes:
    body: bytes = header_of(tape.requests["consistency"][A1]).body
    return body


def root_of(stated: bytes) -> bytes:
    entries = spec.decode("Statement", stated, 1 << 20)["entries"]
    return spec.root([spec.frame("survivor", entry["name"].encode(), entry["value"]) for entry in entries])


def signed_set(config: bytes, stated: bytes, signer: str) -> bytes:
    session = spec.digest("session", spec.digest("round-config", config))
    count = len(spec.decode("Statement", stated, 1 << 20)["entries"])
    return identity(signer).sign(spec.frame("agreement", session, spec.u64(count), root_of(stated)))


def first_entries(stated: bytes, count: int) -> bytes:
    entries = spec.decode("Statement", stated, 1 << 20)["entries"]
    return spec.encode("Statement", {"entries": entries[:count]})


def letters_of(tape: Play, client: str = CHEAT) -> tuple[bytes, bytes]:
    """One with a free share and one with a long one."""
    mine = [data for (name, _), data in sorted(tape.post.letters.items()) if name == client]
    free = [data for data in mine if not bulk_of(data)]
    return free[0], next(data for data in mine if bulk_of(data))


def shared_otherwise(tape: Play, commitments: list[bytes], parties: list[int], whole: bytes = b"") -> FaultProof:
    """What an aggregator shows of a client that signed the hashes of any `commitments` it likes, and of the `whole`."""
    context = tape.federation.config().context
    hashes = [spec.share_hash(context, CHEAT, a, made, bytes(32)) for a, made in enumerate(commitments)]
    hashes.append(spec.whole_hash(context, CHEAT, whole))
    signed = edit(
        tape.responses["advertise"][CHEAT],
        identity(CHEAT),
        Advertisement,
        lambda body: changed(body, backend=b"".join(hashes)),
    )
    opened = spec.encode("OpenedShares", {"parties": parties, "nonces": bytes(32 * len(parties))})
    made = b"".join(commitments[a] for a in parties if a < len(commitments))
    return fault(tape, "bad-shares", CHEAT, advertisement(signed), opened, made)


def random_commitments(count: int, size: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, spec.P, size // 4).astype("<u4").tobytes() for _ in range(count)]


@cache
def proofs() -> dict[str, FaultProof]:
    """One of every kind, and of some kinds more."""
    tape, threshold = played(5, **ALL_OF_3)[2], played(5, **TWO_OF_4)[2]
    size = commitment_bytes(tape.aggregator.config)
    cheat, second = identity(CHEAT), identity(A2)
    first = tape.responses["advertise"][CHEAT]
    other = Client(cheat, tape.federation.trust)
    again = other.join(tape.requests["advertise"][CHEAT], tape.federation.updates["c000"])
    letter = next(item.data for item in other.outbox if item.recipient == A2)
    free, long = letters_of(tape)
    stated, hashes = statement(tape), open_letter(free).letter.hashes
    revealed, summed = tape.responses["reveal-commitments"][A2], tape.responses["partial-sum"][A2]
    nonces = edit(revealed, second, Revealed, lambda body: changed(body, nonces=flipped(body.nonces, 70)))
    config, later = tape.federation.config().to_bytes(), tape.federation.config(attempt=1).to_bytes()
    fewer = first_entries(stated, 4)
    masking = Tape.start(Federation(n=4)).until("advertise")
    joined = masking.answer(CHEAT)
    twice = Client(cheat, masking.federation.trust).join(
        masking.requests["advertise"][CHEAT], masking.federation.updates["c000"]
    )
    return {
        "two-advertisements": fault(tape, "two-advertisements", CHEAT, first, again),
        "two-advertisements, masking": fault(masking, "two-advertisements", CHEAT, joined, twice),
        "two-commitments": fault(tape, "two-commitments", CHEAT, advertisement(first), letter),
        "bad-share, free": fault(
            tape, "bad-share", CHEAT, reseal(free, small=open_letter(free).nonce + bytes(32)), open_letter(free).key
        ),
        "bad-share, long": fault(
            tape, "bad-share", CHEAT, reseal(long, long=flipped(open_letter(long).long)), open_letter(long).key
        ),
        "bad-shares": shared_otherwise(threshold, random_commitments(4, size), [0, 2, 3]),
        "bad-shares, not canonical": shared_otherwise(tape, [*random_commitments(2, size), FF * size], [0, 1, 2]),
        "bad-reveal": fault(tape, "bad-reveal", A2, stated, hashes, nonces),
        "bad-partial-sum": fault(
            tape, "bad-partial-sum", A2, stated, revealed, forge(summed, second, bulk=flipped(bulk_of(summed)))
        ),
        "two-sets": fault(
            tape,
            "two-sets",
            A2,
            stated,
            signed_set(config, stated, A2),
            later,
            fewer,
            signed_set(later, fewer, A2),
        ),
    }


def test_there_is_a_proof_of_every_kind() -> None:
    elsewhere = {"bad-norm-proof"}  # of rounds with a norm bound: test_specification_bounded
    assert {proof.kind for proof in proofs().values()} | elsewhere == set(spec_faults.KINDS)


@pytest.mark.parametrize(
    "name",
    [
        "two-advertisements",
        "two-advertisements, masking",
        "two-commitments",
        "bad-share, free",
        "bad-share, long",
        "bad-shares",
        "bad-shares, not canonical",
        "bad-reveal",
        "bad-partial-sum",
        "two-sets",
    ],
)
def test_both_find_the_culprit_and_refuse_every_alteration_alike(name: str) -> None:
    proof = proofs()[name]
    data = proof.to_bytes()
    options: dict[str, int] = TWO_OF_4 if name == "bad-shares" else ALL_OF_3
    where = Federation(n=4) if "masking" in name else additive(options)
    trust = where.trust.to_json()
    assert fault_verdict(data) == fault_verdict(data, trust) == proof.culprit

    def wrong(**changes: Any) -> bytes:
        fields = {item: getattr(proof, item) for item in FaultProof.__struct_fields__} | changes
        return FaultProof(**fields).to_bytes()

    impostor = Identity(proof.culprit, bytes(32)).public
    refused = [
        data[:-1],
        data + b"\0",
        wrong(kind="bad-mood"),
        wrong(culprit="c001"),
        wrong(public=impostor),
        wrong(config=b""),
        wrong(config=where.config(round=7).to_bytes()),
        wrong(setup=proof.setup + b"\0"),
        wrong(setup=b"" if proof.setup else where.setup or b"x"),
        wrong(exhibits=()),
        wrong(exhibits=proof.exhibits[:-1]),
        wrong(exhibits=(*proof.exhibits, b"")),
        *(wrong(kind=kind) for kind in spec_faults.KINDS if kind != proof.kind),
    ]
    for altered in refused:
        assert fault_verdict(altered) is None
    pins = json.loads(trust)
    pins["tasks"]["task"]["roster"][CHEAT] = public("stranger").hex()
    assert fault_verdict(data, json.dumps(pins)) is None
    rng = np.random.default_rng(len(name))
    for place, exhibit in enumerate(proof.exhibits):
        for at in {0, 1, len(exhibit) // 2, len(exhibit) - 1, *rng.integers(0, len(exhibit), 8).tolist()}:
            shown = list(proof.exhibits)
            shown[place] = flipped(exhibit, at)
            assert fault_verdict(wrong(exhibits=tuple(shown))) is None


def test_who_is_accused_with_a_key_of_the_accuser_is_innocent_before_both() -> None:
    tape = played(5, **ALL_OF_3)[2]
    free, impostor = letters_of(tape)[0], Identity(CHEAT, bytes(32))
    bad = forge(reseal(free, small=bytes(64)), impostor)
    made_up = proof_of(tape, "bad-share", CHEAT, impostor.public, bad, open_letter(free).key).to_bytes()
    assert fault_verdict(made_up) == CHEAT, "without pins anybody can be anybody"
    assert fault_verdict(made_up, tape.federation.trust.to_json()) is None


ODD: tuple[Any, ...] = (b"", b"\0", b"x" * 32, bytes(64), None, 0, -1, 2**64 - 1, "x", [], [b""], {}, 1.5, True)


@settings(max_examples=200)
@given(data=st.data())
def test_malformed_proofs_are_refused_by_both(data: st.DataObject) -> None:
    """Any value in any place: no verifier fails in another way than by refusing."""
    proof = proofs()[data.draw(st.sampled_from(sorted(proofs())))]
    fields = msgspec.msgpack.decode(proof.to_bytes())
    place = data.draw(st.integers(0, len(fields) - 1 + 3))
    if place < len(fields):
        fields[place] = data.draw(st.sampled_from(ODD))
    else:
        exhibits = fields[-1]
        place = data.draw(st.integers(0, len(exhibits) - 1))
        exhibit = exhibits[place]
        cut = data.draw(st.integers(0, len(exhibit) - 1))
        others = st.sampled_from([exhibit[:cut], exhibit + b"\0", *ODD, *exhibits])
        exhibits[place] = data.draw(others.filter(lambda value: value != exhibit))
    altered = msgspec.msgpack.encode(fields)
    if altered != proof.to_bytes():
        assert fault_verdict(altered) is None


def test_two_advertisements_are_a_fault_whatever_the_backend() -> None:
    """The client has signed both; that no honest one would have joined is no excuse."""
    tape = played(5, **ALL_OF_3)[2]
    cheat, first = identity(CHEAT), tape.responses["advertise"][CHEAT]
    fields = spec.decode("RoundConfig", tape.federation.config().to_bytes(), 1 << 20)
    for changes, proved in (
        ({"backend": "bfv"}, True),
        ({"backend": "unheard of"}, True),
        ({"options": [{"name": "x", "value": 1}]}, True),
        ({"options": [{"name": "x", "value": 2**32}]}, False),
        ({"backend": ""}, False),
        ({"bits": 30}, False),
        ({"max_clients": 2**20}, False),
    ):
        config = spec.encode("RoundConfig", fields | {"policy": fields["policy"] | changes})
        session = spec.digest("round-config", config)
        pair = forge(first, cheat, session=session), forge(first, cheat, session=session, body=b"")
        shown = proof_of(tape, "two-advertisements", CHEAT, cheat.public, *pair, config=config, setup=b"")
        assert fault_verdict(shown.to_bytes()) == (CHEAT if proved else None)


def test_both_say_alike_what_is_a_fault_of_a_client() -> None:
    tape = played(5, **ALL_OF_3)[2]
    cheat, (free, long) = identity(CHEAT), letters_of(tape)
    first = tape.responses["advertise"][CHEAT]
    held, key = open_letter(free), open_letter(free).key
    again = edit(first, cheat, Advertisement, lambda body: changed(body, commitment_hash=bytes(32)))

    def advertised(*exhibits: bytes) -> str | None:
        return fault_verdict(fault(tape, "two-advertisements", CHEAT, *exhibits).to_bytes())

    assert advertised(first, again) == CHEAT
    assert advertised(first, forge(first, cheat, body=b"")) == CHEAT
    for other in (
        first,
        forge(again, cheat, bulk=b"x"),
        forge(again, cheat, recipient="aggregator"),
        forge(again, cheat, phase="share"),
        forge(again, cheat, session=bytes(32)),
        forge(again, cheat, version=2),
        forge(again, identity("c001")),
    ):
        assert advertised(first, other) is None

    def committed(shown: bytes, letter: bytes) -> str | None:
        return fault_verdict(fault(tape, "two-commitments", CHEAT, shown, letter).to_bytes())

    hashless = edit(first, cheat, Advertisement, lambda body: changed(body, backend=b""))
    assert committed(advertisement(again), free) == CHEAT
    assert committed(advertisement(hashless), free) == CHEAT
    assert committed(advertisement(first), forge(free, cheat, recipient="nobody")) is None
    assert committed(advertisement(again), forge(free, cheat, recipient="nobody", bulk=b"x")) == CHEAT
    for hashes in (b"", held.letter.hashes[:-32], held.letter.hashes + bytes(32)):
        short = edit(free, cheat, ShareLetter, partial(changed, hashes=hashes))
        assert committed(advertisement(again), short) is None
    assert committed(advertisement(first), free) is None
    assert committed(advertisement(again, name="c001"), free) is None
    assert committed(again, free) is None
    assert committed(advertisement(again), forge(free, cheat, session=header_of(first).session)) is None

    def sealed(letter: bytes, shown: bytes = key) -> str | None:
        return fault_verdict(fault(tape, "bad-share", CHEAT, letter, shown).to_bytes())

    def bound_to(other: bytes) -> bytes:
        header = header_of(free)
        hashed = spec_faults.key_hash(header.session, CHEAT, header.recipient, other)
        return edit(free, cheat, ShareLetter, lambda body: changed(body, key_hash=hashed))

    assert sealed(free) is None
    assert sealed(free, bytes(32)) is None
    assert sealed(reseal(free, ephemeral=bytes(32))) is None  # it opens under K
    for other in (b"", b"k" * 16, b"k" * 31, b"k" * 32, b"k" * 33):
        assert sealed(bound_to(other), other) == CHEAT
        assert sealed(bound_to(other)) is None
    for small in (held.nonce + bytes(32), held.nonce, b"", held.nonce + held.seed + b"1", bytes(32) + held.seed):
        assert sealed(reseal(free, small=small)) == CHEAT
    assert sealed(reseal(free, sealed=b"")) == CHEAT
    assert sealed(reseal(free, long=bytes(4))) == CHEAT
    assert sealed(edit(free, cheat, ShareLetter, lambda body: changed(body, sealed=bytes(1 << 16)))) is None
    assert sealed(forge(free, cheat, recipient="nobody")) is None
    opened = open_letter(long)
    other_values = (spec.P.to_bytes(4, "little"), FF * 4, opened.long[:4] + bytes(4), b"")
    for start in other_values:
        assert sealed(reseal(long, long=start + opened.long[4:]), opened.key) == CHEAT
    assert sealed(forge(long, cheat, bulk=b""), opened.key) == CHEAT
    assert sealed(long, opened.key) is None


def test_both_say_alike_which_shares_fit_together() -> None:
    everybody, threshold = played(5, **ALL_OF_3)[2], played(5, **TWO_OF_4)[2]
    size = commitment_bytes(everybody.aggregator.config)
    made, bad = random_commitments(4, size), FF * size
    line = [np.frombuffer(item, "<u4").astype(np.int64) for item in made[:2]]
    straight = [((line[0] + a * line[1]) % spec.P).astype("<u4").tobytes() for a in range(1, 5)]
    elements = [np.frombuffer(item, "<u4").astype(np.int64) for item in made]
    total = (sum(elements[:3]) % spec.P).astype("<u4").tobytes()
    through_1_and_3 = spec.interpolate({1: elements[1], 3: elements[3]}, 1, 0).astype("<u4").tobytes()
    for tape, commitments, whole, parties, proved in (
        (everybody, made[:3], total, [0, 1, 2], False),
        (everybody, made[:3], made[0], [0, 1, 2], True),
        (everybody, [bad] * 3, total, [0, 1, 2], True),
        (everybody, [bad] * 3, total, [0, 1], False),
        (threshold, straight, made[0], [0, 1, 2, 3], False),
        (threshold, straight, made[0], [0, 3], False),
        (threshold, straight, made[1], [0, 3], True),
        (threshold, made, through_1_and_3, [0, 1, 2, 3], True),
        (threshold, made, through_1_and_3, [1, 3], False),
        (threshold, made, made[0], [1, 3], True),
        (threshold, made, made[0], [3], False),
        (threshold, [bad] * 4, made[0], [0, 3], True),
        (threshold, [bad] * 4, made[0], [0], False),
        (threshold, made, made[0], [3, 2, 1], False),
        (threshold, made, made[0], [1, 2, 2], False),
        (threshold, made, made[0], [1, 2, 4], False),
        (threshold, [item[:-4] for item in made], made[0], [0, 1, 2], False),
    ):
        shown = shared_otherwise(tape, commitments, parties, whole).to_bytes()
        assert fault_verdict(shown) == (CHEAT if proved else None)


@pytest.mark.parametrize("options", [ALL_OF_3, TWO_OF_4], ids=str)
def test_both_say_alike_what_is_a_fault_of_an_aggregator(options: dict[str, int]) -> None:
    tape = played(5, **options)[2]
    second, stated = identity(A2), statement(tape)
    hashes = open_letter(letters_of(tape)[0]).letter.hashes
    revealed, summed = tape.responses["reveal-commitments"][A2], tape.responses["partial-sum"][A2]
    size = commitment_bytes(tape.aggregator.config)
    shown, made, partial_sum = header_of(revealed), bulk_of(revealed), bulk_of(summed)
    nonces = spec_faults.decode("Revealed", shown.body, 1 << 20)["nonces"]

    def answer(*, root: bytes | None = None, nonces: bytes = nonces, bulk: bytes = made, **header: Any) -> bytes:
        body = spec.encode("Revealed", {"root": root or root_of(stated), "nonces": nonces})
        return forge(revealed, second, body=body, bulk=bulk, **header)

    def accused(kind: str, *exhibits: bytes) -> str | None:
        return fault_verdict(fault(tape, kind, A2, *exhibits).to_bytes())

    reveal, total = partial(accused, "bad-reveal", stated), partial(accused, "bad-partial-sum", stated)
    wrong = flipped(nonces, 70)
    assert reveal(hashes, revealed) is None
    assert reveal(hashes, answer(nonces=wrong)) == A2
    assert reveal(hashes, answer(nonces=wrong, recipient="nobody")) == A2
    assert reveal(hashes, answer(bulk=flipped(made, 2 * size))) == A2
    assert reveal(hashes, answer(bulk=flipped(made))) is None  # of another client
    assert reveal(bytes(len(hashes)), answer(nonces=wrong)) is None
    assert reveal(hashes[:-32], answer(nonces=wrong)) is None
    for malformed in (
        {"bulk": made[:-4]},
        {"bulk": b""},
        {"bulk": made + bytes(size)},
        {"nonces": nonces[:-32]},
        {"nonces": b""},
        {"nonces": nonces + b"1"},
        {"nonces": nonces[:-32], "bulk": made[:-size]},
    ):
        assert reveal(hashes, answer(**malformed)) == A2
    for foreign in ({"root": bytes(32)}, {"phase": "partial-sum"}, {"session": bytes(32)}, {"sender": A3}):
        assert reveal(hashes, answer(**{"nonces": wrong, **foreign})) is None

    def answered(bulk: bytes = partial_sum, root: bytes | None = None, **header: Any) -> bytes:
        return forge(
            summed, second, body=spec.encode("PartialSum", {"root": root or root_of(stated)}), bulk=bulk, **header
        )

    altered = flipped(partial_sum)
    nothing = spec.encode("Statement", {"entries": []})
    of_nothing = answer(root=root_of(nothing), nonces=b"", bulk=b"")
    assert accused("bad-partial-sum", nothing, of_nothing, answered(root=root_of(nothing))) is None
    assert total(revealed, summed) is None
    assert total(revealed, answered(altered)) == A2
    assert total(answer(nonces=wrong), summed) is None  # another fault
    assert total(answer(nonces=b""), answered(altered)) == A2
    assert total(answer(bulk=flipped(made)), summed) == A2
    assert total(answer(bulk=FF * len(made)), summed) == A2
    assert total(answer(bulk=made[:-size]), answered(altered)) is None
    assert total(answer(root=bytes(32)), answered(altered)) is None
    assert total(revealed, answered(altered, root=bytes(32))) is None
    assert total(revealed, answered(altered, phase="sum")) is None
    for malformed_sum in (b"", partial_sum[:-4], partial_sum + bytes(4), FF * len(partial_sum)):
        assert total(revealed, answered(malformed_sum)) == A2

    fewer, count = first_entries(stated, 2), 2 * 32
    short = answer(root=root_of(fewer), nonces=nonces[:count], bulk=made[: 2 * size])
    assert accused("bad-partial-sum", fewer, short, answered(root=root_of(fewer))) == A2
    assert accused("bad-partial-sum", fewer, short, summed) is None
    backwards = spec.encode("Statement", {"entries": spec.decode("Statement", stated, 1 << 20)["entries"][::-1]})
    assert accused("bad-reveal", backwards, hashes, answer(root=root_of(backwards), nonces=wrong)) == A2


def test_both_say_alike_what_two_sets_are() -> None:
    tape = played(5, **ALL_OF_3)[2]
    where, stated = tape.federation, statement(tape)
    config, fewer = where.config().to_bytes(), first_entries(stated, 4)

    def signed(other: bytes, second: bytes, signer: str = A2, *, signature: bytes | None = None) -> str | None:
        first = signed_set(config, stated, signer)
        last = signature if signature is not None else signed_set(other, second, signer)
        return fault_verdict(fault(tape, "two-sets", signer, stated, first, other, second, last).to_bytes())

    def with_fields(**changes: Any) -> bytes:
        fields = spec.decode("RoundConfig", config, 1 << 20)
        return spec.encode("RoundConfig", fields | changes)

    assert signed(config, fewer) == A2
    assert signed(config, stated) is None
    for changes in (
        {"attempt": 1},
        {"start_model": bytes([1] * 32)},
        {"setup": bytes(32)},
        {"setup": b""},
        {"witnesses": bytes(32)},
        {"cohort_root": bytes(32)},
        {"shapes": [[3]]},
    ):
        assert signed(with_fields(**changes), stated) == A2
    policy = spec.decode("RoundConfig", config, 1 << 20)["policy"]
    for changes in ({"round": 1}, {"task": "b"}, {"operators": bytes(32)}, {"policy": policy | {"clip": 7.5}}):
        assert signed(with_fields(**changes), fewer) is None
    assert signed(with_fields(attempt=1), fewer, "aggregator") is None
    assert signed(with_fields(attempt=1), fewer, CHEAT) is None
    assert signed(with_fields(attempt=1), fewer, signature=bytes(64)) is None
    assert signed(with_fields(attempt=1), fewer, signature=b"") is None


# --- operators' cards --------------------------------------------------------------------------------------


def certificate(
    identity: bytes,
    *,
    names: Sequence[str] = (),
    ca: bool = False,
    curve: ec.EllipticCurve | None = None,
    issuer: ec.EllipticCurvePrivateKey | None = None,
    padding: int = 0,
) -> bytes:
    """As the specification wants it, but for what is said."""
    host = spec.digest("operator-host", identity).hex()[:32] + ".operator.invalid"
    key = ec.generate_private_key(curve or ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime.datetime(2020, 1, 1)).not_valid_after(datetime.datetime(2999, 1, 1))
    alternatives = [x509.DNSName(name) for name in names or (host,)]
    made = made.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca, None), critical=True)
    made = made.add_extension(
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.9"), bytes(padding)), critical=False
    )
    return made.sign(issuer or key, SHA256()).public_bytes(serialization.Encoding.DER)


def test_both_accept_and_refuse_the_same_cards() -> None:
    keys, other = OperatorKeys.generate("aggregator-1", share_holder=True), OperatorKeys.generate("aggregator-2")
    pinned = Roster({item.name: item.identity.public for item in (keys, other)})
    good = keys.card(b"the channel key is for the role to check")

    def accepted(data: bytes) -> bool:
        product = independent = True
        try:
            OperatorCard.from_bytes(data).check(pinned)
        except RemoteProtocolError:
            product = False
        try:
            spec_card.verify_card(data, dict(pinned.items()))
        except ValueError:
            independent = False
        assert product == independent
        return product

    assert accepted(good.to_bytes())
    assert accepted(other.card().to_bytes())
    own = partial(certificate, keys.identity.public)
    host = spec.digest("operator-host", keys.identity.public).hex()[:32] + ".operator.invalid"
    for made, fits in (
        (own(), True),
        (own(padding=3500), True),
        (own(padding=4000), False),
        (own(ca=True), False),
        (own(curve=ec.SECP384R1()), False),
        (own(issuer=ec.generate_private_key(ec.SECP256R1())), False),
        (own(names=["localhost"]), False),
        (own(names=[host, "localhost"]), False),
        (own(names=[host, host]), False),
        (certificate(other.identity.public), False),
    ):
        assert accepted(OperatorCard.issue(keys.identity, made).to_bytes()) == fits
    impostor = replace(keys, seed=bytes(32))
    for card in (
        OperatorCard.issue(other.identity, keys.certificate),
        OperatorCard.issue(keys.identity, b""),
        OperatorCard.issue(keys.identity, keys.certificate + bytes(4096)),
        OperatorCard.issue(Identity("stranger", keys.seed), keys.certificate),
        impostor.card(),
        changed(good, channel=b""),
    ):
        assert not accepted(card.to_bytes())
    data = good.to_bytes()
    for place in range(0, len(data), 7):
        assert not accepted(flipped(data, place))
