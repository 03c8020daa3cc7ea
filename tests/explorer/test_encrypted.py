"""Rounds of key holders: what evidence has of them is checked, and what is in no evidence is said not to be."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import pytest
from conformance import independent_verifier as spec
from conformance.verdicts import by_product
from msgspec.structs import replace
from support.explorer.core import Core, CoreRefused, in_node
from support.federation import Federation, Tape, identity, threshold_shares
from support.paillier import P, Q
from support.renouncing import asked, following, renouncing

from secure_agg import backends
from secure_agg.backends.homomorphic.paillier_scheme import PaillierPublic, write_public
from secure_agg.errors import SecureAggError
from secure_agg.protocol.certificate import KeyCertificate
from secure_agg.protocol.config import Policy
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import decode, encode
from secure_agg.protocol.renunciation import RenunciationCertificate

gmpy2 = pytest.importorskip("gmpy2")
SMALL: Final = math.prod(range(3, 200, 2))
HOLDERS: Final = ("keyholder-1", "keyholder-2", "keyholder-3", "keyholder-4")


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


def federation(backend: str, **options: int) -> Federation:
    if backend != "paillier":
        pytest.importorskip("tenseal")
    return Federation(4, backend=backend, options=options, policy_changes={"bits": 8})


def second_generation(where: Federation) -> Evidence:
    """A round that nobody opened is renounced by its key holders; the one that follows goes on from that."""
    tape = Tape.start(where).until("decrypt")
    with pytest.raises(SecureAggError):
        tape.advance()
    asking = renouncing(where, where.config())
    assert asked(where, asking, tape=tape) == {}
    return following(where, asking.certificate()).finish()


def states(core: Core, evidence: bytes, trust: str | None, *beside: bytes) -> dict[str, tuple[str, str]]:
    found = core("evidence", evidence=evidence, trust=trust, beside=list(beside))
    return {check["number"]: (check["state"], check["detail"]) for check in found["checks"]}


@pytest.mark.slow
def test_key_holders_signatures_on_key_and_renunciation(core: Core) -> None:
    where = federation("paillier", modulus_bits=2048, holders=4)
    evidence, trust = second_generation(where), where.trust.to_json()
    data = evidence.to_bytes()
    product = by_product(data, trust, None, None)
    assert core.verdict(data, trust) == product[0]
    said = states(core, data, trust)
    assert said["key"][0] == said["10"][0] == "passed"
    assert "4 signatures" in said["key"][1]
    assert "3 of 4 open together" in said["key"][1]
    assert "at least 3" in said["10"][1]
    assert said["opened"][0] == said["chain"][0] == "skipped"  # what is left open is said, with what checks it
    assert "secure-agg keyholder serve" in said["opened"][1]
    assert "secure-agg verify FILE.evidence --trust TRUST.json --chain" in said["chain"][1]
    without = states(core, data, None)
    assert "NOT the signatures" in without["key"][1]
    assert "NOT its signatures" in without["10"][1]

    certificate = RenunciationCertificate.from_bytes(evidence.renounced)
    mallory = identity("mallory")

    def changed(**fields: bytes) -> bytes:
        """Of evidence; what the configuration says of its setup, or of the certificate, goes with it."""
        raw, bulk = spec.unpack(data)
        header = msgspec.msgpack.decode(raw)
        config = spec.decode("RoundConfig", header[1], 1 << 20)
        for name, value in fields.items():
            place, label = {"setup": (6, "setup"), "renounced": (9, "renunciation")}[name]
            header[place], config[name] = value, spec.digest(label, value)
        header[1] = spec.encode("RoundConfig", config)
        encoded = msgspec.msgpack.encode(header)
        return len(encoded).to_bytes(4, "little") + encoded + bulk

    def renounced(*signatures: Any) -> bytes:
        return encode(replace(certificate, signatures=tuple(signatures)))

    own = certificate.signatures
    other = type(own[0])(own[0].name, mallory.sign(b"x"))
    for why, forged in {
        "too few": changed(renounced=renounced(*own[:2])),
        "another signature": changed(renounced=renounced(other, *own[1:])),
        "a stranger": changed(renounced=renounced(*own[:2], type(own[0])("mallory", other.signature))),
        "a key of a stranger": changed(setup=where.certify(key(evidence).public, *HOLDERS[:3], "mallory").to_bytes()),
        "a key of too few": changed(setup=where.certify(key(evidence).public, *HOLDERS[:3]).to_bytes()),
        "another task's": changed(setup=where.certify(key(evidence).public, *HOLDERS, task="other").to_bytes()),
        "a key that is whole": changed(setup=where.certify(whole(N), *HOLDERS).to_bytes()),
    }.items():
        assert isinstance(by_product(forged, trust, None, None), str), why
        assert core.verdict(forged, trust) is None, why


def key(evidence: Evidence) -> KeyCertificate:
    return decode(KeyCertificate, evidence.setup, 1 << 24)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["paillier", "bfv"])
def test_a_first_generation_has_its_key_beside_it_or_says_that_it_is_missing(core: Core, backend: str) -> None:
    where = federation(backend, **({"modulus_bits": 2048} if backend == "paillier" else {}))
    evidence, trust = where.round().run().to_bytes(), where.trust.to_json()
    assert core.verdict(evidence, trust) == by_product(evidence, trust, None, None)[0]
    state, detail = states(core, evidence, trust)["key"]
    assert (state, "in no evidence of a first generation" in detail) == ("skipped", True)
    state, detail = states(core, evidence, trust, b"something else", where.setup)["key"]
    assert state == "passed"
    assert ("a modulus of 2048 bits" if backend == "paillier" else "NOT read") in detail
    pins = json.loads(trust)
    pins["operators"] = {name: pin for name, pin in pins["operators"].items() if not name.startswith("keyholder")}
    found = states(core, evidence, json.dumps(pins), where.setup)
    assert found["1"][0] == "failed"


# --- keys ----------------------------------------------------------------------------------------------------


def whole(modulus: int, bits: int = 2048, **fields: Any) -> bytes:
    """A key in one hand, or none."""
    return encode(replace(PaillierPublic(modulus.to_bytes(bits // 8, "little"), 1, (), b"", ()), **fields))


def shared(**fields: Any) -> bytes:
    """A key of four, of whom three open."""
    share = threshold_shares(3, HOLDERS)[HOLDERS[0]]
    return encode(replace(decode(PaillierPublic, write_public(share.key), 1 << 20), **fields))


def odd(least: int, has: Callable[[int], bool]) -> int:
    return next(value for value in itertools.count(least | 1, 2) if has(value))


N: Final = P * Q
ONE: Final = {"modulus_bits": 2048}
FOUR: Final = {"modulus_bits": 2048, "holders": 4}
KEYS: Final[Mapping[str, tuple[Callable[[], bytes], Mapping[str, int], bool]]] = {
    "a whole one": (lambda: whole(N), ONE, True),
    "a shared one": (shared, FOUR, True),
    "of another length": (lambda: whole(N), {}, False),
    "even": (lambda: whole(N - 1), ONE, False),
    "prime": (lambda: whole(int(gmpy2.next_prime(N))), ONE, False),
    "a square": (lambda: whole(max(P, Q) ** 2), ONE, False),
    "a cube": (lambda: whole(odd(13 * 2**682 // 10, lambda n: math.gcd(n, SMALL) == 1) ** 3), ONE, False),
    "with a small factor": (lambda: whole(odd(N, lambda n: n % 65521 == 0)), ONE, False),
    "shorter than it says": (lambda: whole(odd(N >> 3, lambda n: math.gcd(n, SMALL) == 1)), ONE, False),
    "with a threshold": (lambda: whole(N, threshold=2), ONE, False),
    "shared among others": (lambda: shared(members=("a", *HOLDERS[1:])), FOUR, False),
    "whole, and shared by the policy": (lambda: whole(N), FOUR, False),
    "shared, and whole by the policy": (shared, ONE, False),
    "a verification key too few": (lambda: shared(verification=(bytes([1]) + bytes(511),) * 3), FOUR, False),
    "a verification key of zero": (lambda: shared(verification=(bytes(512),) * 4), FOUR, False),
    "a base that is no unit": (lambda: shared(base=P.to_bytes(512, "little")), FOUR, False),
    "trailing": (lambda: whole(N) + b"\0", ONE, False),
    "of no modulus": (lambda: encode(PaillierPublic(b"", 1, (), b"", ())), ONE, False),
}


@pytest.mark.parametrize(("made", "options", "good"), KEYS.values(), ids=KEYS)
def test_a_key_of_paillier_is_one_to_the_page_as_to_the_product(
    core: Core, made: Callable[[], bytes], options: Mapping[str, int], good: bool
) -> None:
    where, data = Federation(4, backend="paillier", options=options), made()
    policy, names = where.trust.task(where.task).policy, HOLDERS[: options.get("holders", 1)]

    keyed = backends.load("paillier").keys
    assert keyed is not None

    def is_taken() -> bool:
        try:
            keyed.check_key(where.config(), data, names)
        except SecureAggError:
            return False
        return True

    def is_shown() -> bool:
        try:
            core("paillierKey", key=data, policy=encode(policy), signers=list(names))
        except CoreRefused:
            return False
        return True

    assert (is_taken(), is_shown()) == (good, good)


RINGS: Final = [
    ("bfv", 4096, 404021, 0, 1032193, 8),
    ("bfv", 8192, 60404060, 0, 1032193, 8),
    ("bfv", 8192, 60404062, 0, 1032193, 8),
    ("bfv", 8192, 60404060, 0, 1032192, 8),
    ("bfv", 8192, 60404060, 0, 65537, 16),
    ("bfv", 8192, 60404060, 0, 0, 8),
    ("bfv", 8192, 4020, 0, 1032193, 8),
    ("bfv", 8192, 2020, 0, 1032193, 8),
    ("bfv", 4096, 606020, 0, 1032193, 8),
    ("bfv", 5000, 4020, 0, 1032193, 8),
    ("bfv", 16384, 60606060, 606021, 786433, 8),
    ("bfv", 16384, 606060, 60, 786433, 8),
    ("ckks", 8192, 60404060, 0, 0, 8),
    ("ckks", 8192, 60404060, 0, 0, 16),
    ("ckks", 8192, 60404060, 0, 65537, 8),
    ("ckks", 4096, 4020, 0, 0, 8),
    ("ckks", 16384, 60606060, 60606051, 0, 12),
    ("ckks", 16384, 60606060, 60606052, 0, 12),
    ("ckks", 4096, 1717, 1717, 0, 2),
    ("ckks", 0, 4020, 0, 0, 8),
]


@pytest.mark.parametrize("ring", RINGS, ids=str)
def test_a_ring_that_a_policy_names_holds_its_sums_to_the_page_as_to_the_product(
    core: Core, ring: tuple[str, int, int, int, int, int]
) -> None:
    backend, degree, primes, more, plain, bits = ring
    named = {"degree": degree, "primes": primes, "more_primes": more, "plain_modulus": plain}
    options = {name: value for name, value in named.items() if value}
    fields = spec.decode("Policy", encode(Policy.default(4, backend="plain", bits=bits)), 1 << 20)
    fields |= {"backend": backend, "options": [{"name": name, "value": options[name]} for name in sorted(options)]}
    data = spec.encode("Policy", fields)
    try:
        backends.load(backend).check_policy(decode(Policy, data, 1 << 20))
        taken = True
    except SecureAggError:
        taken = False
    try:
        core("policy", data=data)
        shown = ""
    except CoreRefused as error:
        shown = str(error)
    assert taken == (shown == ""), shown
