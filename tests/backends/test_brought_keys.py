"""Keys that were made elsewhere: those of phe and TenSEAL as they are, or a refusal with the numbers."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gmpy2
import numpy as np
import phe
import pytest
import tenseal as ts
import zstandard
from support.paillier import P, Q
from support.source_tree import ROOT

from mpc.keystream import KeyStream
from mpc.paillier.paillier import Encryptor, PaillierError, PublicKey, SecretKey
from mpc.ring import Vector
from secure_agg import aggregate
from secure_agg.backends.homomorphic import lattice, lattice_wire, seal_format
from secure_agg.backends.homomorphic.brought import contexts, phe_keys, rings, weak
from secure_agg.backends.homomorphic.brought.rings import Ring
from secure_agg.backends.homomorphic.lattice_keys import form_of
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS, choose, noise_variance
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.config import Option, Policy
from zk.transcript import digest

FILES: Final[Mapping[str, Any]] = json.loads((ROOT / "tests" / "support" / "brought" / "phe.json").read_text())
"""Private keys that stock phe 1.5 has made, in pheutil's form, by length and the primes' residues modulo 4."""
USUAL: Final = Ring(8192, (60, 40, 40, 60))
"""What most who use TenSEAL's CKKS have."""
UPDATES: Final = {f"c{i}": [np.linspace(-1, 1, 40) * (i + 1)] for i in range(4)}
MEAN: Final = np.linspace(-1, 1, 40) * 2.5


def pheutil(name: str, **changes: Any) -> bytes:
    return json.dumps(FILES[name] | changes).encode()


def phe_key(name: str) -> phe.PaillierPrivateKey:
    """As somebody has it who uses phe."""
    found = FILES[name]
    p, q = (phe.util.base64_to_int(found[letter]) for letter in "pq")
    return phe.PaillierPrivateKey(phe.PaillierPublicKey(p * q), p, q)


def base64(number: int) -> str:
    return str(phe.util.int_to_base64(number))


@functools.cache
def context(scheme: str, ring: Ring, *, seed: int = 0) -> ts.Context:
    kind = ts.SCHEME_TYPE.BFV if scheme == BFV else ts.SCHEME_TYPE.CKKS
    made = ts.context(kind, ring.degree, ring.plain_modulus or None, list(ring.prime_bits))
    if scheme == CKKS:
        made.global_scale = 2.0**40
    return made


def saved(made: ts.Context) -> bytes:
    data: bytes = made.serialize(
        save_public_key=True, save_secret_key=True, save_galois_keys=False, save_relin_keys=True
    )
    return data


# --- phe


@pytest.mark.parametrize("name", FILES)
def test_stock_keys_of_phe_are_taken_over_whatever_their_primes_modulo_four(name: str) -> None:
    theirs = phe_key(name)
    key = phe_keys.read(theirs)
    assert key == phe_keys.read(pheutil(name)) == SecretKey.from_bytes(key.to_bytes())
    (ciphertext,) = Encryptor(key.public).encrypt([77], KeyStream(os.urandom(32)))
    assert theirs.raw_decrypt(ciphertext) == 77
    assert key.decrypt([theirs.public_key.raw_encrypt(78)]) == [78]


@pytest.mark.parametrize("name", ["2048-11", "2048-13"])
def test_obfuscators_under_any_primes_are_residues_of_a_large_order(name: str) -> None:
    """Which is what the security argument needs of h."""
    key = phe_keys.read(phe_key(name))
    n, h = key.public.n, key.public.obfuscator_base()
    assert pow(h, (key.p - 1) * (key.q - 1), n * n) == 1, "no n-th residue"
    for prime in (key.p, key.q):
        group = (prime - 1) // 2  # of squares: h misses a part r of it by a chance of 1 in r
        assert pow(h, group, prime) == 1, "no square"
        missed = [r for r in range(2, 1 << 12) if group % r == 0 and pow(h, group // r, prime) == 1]
        assert math.lcm(*missed) < 1 << 16


@pytest.mark.parametrize("form", ["object", "file"])
def test_a_round_under_a_key_of_phe_sums_exactly(form: str, tmp_path: Path) -> None:
    key = phe_key("2048-11") if form == "object" else pheutil("2048-11")
    with Ledger(tmp_path / "rounds.db") as ledger:
        result = aggregate(UPDATES, backend="paillier", key=key, ledger=ledger, clip=8.0)
    assert np.abs(result.average[0] - MEAN).max() <= result.record.error_bound
    assert result.evidence.config.policy.options == (Option("modulus_bits", 2048),)


def test_a_key_of_another_length_than_is_pinned_is_refused_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"modulus_bits=3072, and the key needs --option modulus_bits=2048"):
        aggregate(
            UPDATES,
            backend="paillier",
            key=phe_key("2048-13"),
            options={"modulus_bits": 3072},
            ledger=tmp_path / "rounds.db",
        )
    assert not list(tmp_path.iterdir()), "something was written"
    with pytest.raises(ConfigError, match="whole: it is for one key holder, not for 4"):
        aggregate(UPDATES, backend="paillier", key=phe_key("2048-13"), options={"holders": 4})


def with_factors(p: int, q: int, n: int = 0) -> bytes:
    public = FILES["2048-11"]["pub"] | {"n": base64(n or p * q)}
    return pheutil("2048-11", p=base64(p), q=base64(q), pub=public)


def close_prime(p: int) -> int:
    return int(gmpy2.next_prime(p))


REFUSED: Final[Mapping[str, tuple[object, str]]] = {
    "too short": (with_factors(P >> 512 | 1, Q >> 512 | 1), "modulus of 1024 bits"),
    "a square": (with_factors(P, P), "agree in more than"),
    "primes side by side": (with_factors(P, close_prime(P)), "agree in more than|multiple of 128"),
    "even": (with_factors(P, Q - 1), "not prime"),
    "one factor is no prime": (with_factors(P, Q + 2), "not prime"),
    "of two lengths": (with_factors(P, Q >> 64 | 1), "1024 and 960 bits"),
    "prime": (with_factors(1, P), "1 and 1024 bits"),
    "another modulus": (with_factors(P, Q, P * Q + 2), "not those of its modulus"),
    "not JSON": (b"\xff", "no private key of phe"),
    "a public key": (json.dumps(FILES["2048-11"]["pub"]).encode(), "no private key of phe"),
    "another kind": (pheutil("2048-11", kty="RSA"), "of kind"),
    "a number that is none": (pheutil("2048-11", p="!"), "not base64url"),
    "a number that is too long": (pheutil("2048-11", p="A" * 5000), "above 8192 bits"),
    "a file that is too long": (bytes((1 << 16) + 1), "at most 65536 bytes"),
    "an object of nobody": (object(), "type object is no private key of phe"),
    "a public object": (phe.PaillierPublicKey(P * Q), "is no private key of phe"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_secure_key_of_phe_is_refused_and_not_quoted(case: str) -> None:
    key, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as refused:
        phe_keys.read(key)
    said = str(refused.value)
    assert refused.value.__cause__ is None
    assert str(P) not in said
    assert base64(P) not in said


def first_prime(start: int, step: int = 2) -> int:
    while not gmpy2.is_prime(start):
        start += step
    return start


def smooth_prime(beside: int) -> int:
    """A prime of 1024 bits; it, less ``beside``, has no factor above 2^16."""
    number, factor = 2, 3
    while number.bit_length() < 996:
        number *= factor
        factor = int(gmpy2.next_prime(factor))
    for scale in range((3 << 1022) // number, (1 << 1024) // number):
        if gmpy2.is_prime(number * scale + beside):
            return number * scale + beside
    raise AssertionError("there is none")


def test_primes_that_are_easily_found_are_refused() -> None:
    """Each product is factored here in a moment, by a method that every tool for factoring has."""
    smooth = smooth_prime(1)
    power = gmpy2.mpz(2)
    for factor in range(2, 1 << 11):
        power = gmpy2.powmod(power, factor**8, smooth * Q)
    power = gmpy2.powmod(power, gmpy2.primorial(1 << 16) ** 2, smooth * Q)
    assert gmpy2.gcd(power - 1, smooth * Q) == smooth
    multiple = first_prime(P * 13 // 14 | 1)
    near = gmpy2.isqrt(4 * 13 * 14 * P * multiple) + 1
    apart = gmpy2.isqrt(near * near - 4 * 13 * 14 * P * multiple)
    assert gmpy2.gcd(near - apart, P * multiple) in (P, multiple)
    for p, q, said in (
        (smooth, Q, "nearly no factors"),
        (Q, smooth_prime(-1), "nearly no factors"),
        (P, multiple, "13 times|14 times"),
    ):
        with pytest.raises(PaillierError, match=said):
            SecretKey(p, q)


def test_primes_with_too_much_in_common_are_refused() -> None:
    """p − 1 and q − 1 share a factor of 62 bits: no two random primes do."""
    common = (1 << 61) + 1

    def prime_above(start: int) -> int:
        k = start // (2 * common)
        while not gmpy2.is_prime(2 * common * k + 1):
            k += 1
        return 2 * common * k + 1

    p, q = prime_above(7 << 1021), prime_above(13 << 1020)
    with pytest.raises(PaillierError, match=r"common divisor of 6[2-9] bits, above 32"):
        SecretKey(p, q)


def test_everybody_refuses_moduli_that_are_no_product_of_large_primes() -> None:
    for n, message in (
        (P * Q + 1, "even, prime or a perfect power"),
        (P * P, "even, prime or a perfect power"),
        (close_prime(P * Q), "even, prime or a perfect power"),
        (65_521 * (P * Q // 65_521 | 1), "factor below 65536"),
    ):
        with pytest.raises(PaillierError, match=message):
            PublicKey(n)


# --- TenSEAL


def sums_of(key: lattice.SecretKey, clients: int) -> tuple[Vector, Vector]:
    """What comes out of a sum of the largest values that so many clients may have, and what should."""
    parameters = key.parameters
    top = (1 << parameters.bits) - 1
    rng = np.random.default_rng(0)
    vectors = [rng.integers(0, top, parameters.total, dtype=np.uint32, endpoint=True) for _ in range(clients)]
    for vector in vectors:
        vector[::3] = top
    accumulator = lattice.Accumulator(key.public)
    for vector in vectors:
        accumulator.add(lattice.encrypt(key.public, vector))
    expected: Vector = np.sum(vectors, axis=0, dtype=np.uint64).astype(np.uint32)
    return lattice.decrypt(key, accumulator.total(), clients), expected


GOOD: Final = {
    "ckks, what most have": (CKKS, USUAL, 16, 4),
    "ckks, the smallest": (CKKS, Ring(4096, (40, 20, 40)), 16, 3),
    "ckks, many primes": (CKKS, Ring(8192, (31, 24, 24, 24, 24, 24, 24, 27)), 12, 3),
    "bfv": (BFV, Ring(8192, (60, 60, 60), 1032193), 16, 4),
}


@pytest.mark.parametrize("case", GOOD)
def test_sums_under_the_key_of_a_context_are_exact(case: str) -> None:
    scheme, ring, bits, clients = GOOD[case]
    data = saved(context(scheme, ring))
    assert contexts.ring(data, scheme) == ring
    parameters = rings.fit(scheme, ring, bits, clients, 6000)
    key = contexts.take_over(data, parameters)
    found, expected = sums_of(key, clients)
    assert np.array_equal(found, expected)
    # Nothing but the key was taken over: no scale, no flags, no keys for products.
    fields = lattice_wire.context_fields(key.public_bytes())
    assert fields.settings == key.public.form.settings
    assert not fields.secret_key
    again = lattice.SecretKey.from_bytes(key.secret_bytes(), parameters)
    assert again.public_bytes() == key.public_bytes()


def test_the_noise_of_a_larger_ring_is_within_what_its_scale_leaves() -> None:
    """2^-49 is not seen in a test; a quarter of the bound's standard deviations is what 16,384 slots would not keep to
    if the variance were wrong by a factor of four.
    """
    parameters = rings.fit(CKKS, USUAL, 16, 2, 4092)
    key = contexts.take_over(saved(context(CKKS, USUAL)), parameters)
    _, streams = lattice_wire.split(
        lattice.encrypt(key.public, np.zeros(4092, dtype=np.uint32)), parameters, key.public.digest
    )
    worst, deviation = 0.0, np.sqrt(noise_variance(8192, 60) * 8192 / 2) / parameters.scale
    for stream in streams:
        vector = lattice._load(key.public, stream, key.context)
        slots = np.array(vector.decrypt()[: parameters.slots - 4])
        worst = max(worst, float(np.abs(slots - np.rint(slots)).max()))
    assert worst < 24 * deviation <= 1 / 4 * 1.01
    assert worst > deviation / 4, "the bound is of another ring"


@pytest.mark.parametrize("scheme", [CKKS, BFV])
def test_a_round_under_the_key_of_a_context_sums_exactly(scheme: str, tmp_path: Path) -> None:
    ring = USUAL if scheme == CKKS else Ring(8192, (60, 60, 60), 1032193)
    key: object = context(scheme, ring) if scheme == CKKS else saved(context(scheme, ring))
    with Ledger(tmp_path / "rounds.db") as ledger:
        for _ in range(2):
            result = aggregate(UPDATES, backend=scheme, key=key, ledger=ledger, clip=8.0)
            assert np.abs(result.average[0] - MEAN).max() <= result.record.error_bound
    assert {option.name: option.value for option in result.evidence.config.policy.options} == ring.options


INSECURE: Final = {
    "TenSEAL's tutorial": (CKKS, Ring(8192, (31, 26, 26, 26, 26, 26, 26, 31)), "218 bits.*classical attacks only.*202"),
    "by far": (CKKS, Ring(4096, (60, 60, 60)), "180 bits in a ring of degree 4096 has below 128-bit.*degree 8192"),
    "a small ring": (CKKS, Ring(2048, (30, 20)), "degree 2048 is none of"),
    "one prime": (CKKS, Ring(4096, (60,)), "2 to 8 primes"),
    "no batching": (BFV, Ring(8192, (60, 60, 60), 65539), "1 modulo 16384"),
    "no plaintext modulus": (BFV, Ring(8192, (60, 60, 60)), "plain_modulus goes with bfv"),
    "a plaintext modulus": (CKKS, Ring(8192, (60, 60, 60), 1032193), "plain_modulus goes with bfv"),
    "more primes than there are": (CKKS, Ring(4096, (16, 16, 16, 16, 16)), "not 5 primes of 16 bits"),
}


@pytest.mark.parametrize("case", INSECURE)
def test_rings_that_are_not_secure_are_refused_with_the_numbers(case: str) -> None:
    scheme, ring, message = INSECURE[case]
    with pytest.raises(ConfigError, match=message):
        ring.check(scheme)


INEXACT: Final = {
    "short primes": (
        CKKS,
        Ring(4096, (24, 20)),
        16,
        4,
        r"data primes of 36\.0 bits.*24\.0.*bits=3, or a key whose",
    ),
    "short primes, few clients": (CKKS, Ring(4096, (38, 20)), 16, 100, r"or max_clients=\d+, or a key"),
    "a small plaintext modulus": (BFV, Ring(8192, (60, 60), 114689), 16, 4, "below 262141.*bits=14.*=557057"),
}


@pytest.mark.parametrize("case", INEXACT)
def test_sums_that_would_not_be_exact_are_refused_with_the_smallest_change_that_would_do(case: str) -> None:
    scheme, ring, bits, clients, message = INEXACT[case]
    with pytest.raises(ConfigError, match=message) as refused:
        rings.fit(scheme, ring, bits, clients, 100)
    ways = dict(part.split("=") for part in str(refused.value).replace(",", "").split() if "=" in part)
    if "max_clients" in ways:
        most = int(ways["max_clients"])
        rings.fit(scheme, ring, bits, most, 100)
        with pytest.raises(ConfigError):
            rings.fit(scheme, ring, bits, most + 1, 100)
    fewer = int(str(refused.value).split("bits=")[1].split(",")[0])
    rings.fit(scheme, ring, fewer, clients, 100)
    with pytest.raises(ConfigError):
        rings.fit(scheme, ring, fewer + 1, clients, 100)


def test_a_policy_that_names_a_ring_in_part_or_an_unfit_one_is_refused() -> None:
    for options, message in (
        ({"degree": 8192}, "2 to 8 primes"),
        ({"primes": 60404060}, "degree 0 is none"),
        ({"degree": 8192, "primes": 6040, "more_primes": 40}, "goes on after four"),
        ({"degree": 4096, "primes": 60404060}, "below 128-bit"),
        ({"degree": 8000, "primes": 604060}, "degree 8000"),
    ):
        with pytest.raises(ConfigError, match=message):
            aggregate(UPDATES, backend="ckks", options=options)


@pytest.mark.parametrize("ring", [case[1] for case in GOOD.values()], ids=str)
def test_a_ring_is_what_its_options_say(ring: Ring) -> None:
    options = Option.list(ring.options)
    policy = Policy.default(3, backend=BFV if ring.plain_modulus else CKKS, options=options)
    assert rings.of_policy(policy) == ring


def test_what_is_no_context_with_both_keys_is_refused_before_seal_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(CKKS, USUAL)
    parameters = rings.fit(CKKS, USUAL, 16, 3, 100)
    good = lattice_wire.brought_fields(saved(made))
    other = lattice_wire.brought_fields(saved(ts.context(ts.SCHEME_TYPE.CKKS, 8192, None, [60, 40, 40, 60])))
    contexts.take_over(saved(made), parameters)  # and its form is known from here on

    def never(*_: object, **__: object) -> None:
        raise AssertionError("SEAL was asked")

    symmetric = ts.context(ts.SCHEME_TYPE.CKKS, 8192, None, [60, 40, 40, 60], ts.ENCRYPTION_TYPE.SYMMETRIC)
    unread = saved(symmetric)
    public_only = made.copy()
    public_only.make_context_public()
    with pytest.raises(ConfigError, match="no secret key"):
        contexts.serialised(public_only)
    monkeypatch.setattr(ts.Context, "load", never)
    half = len(good.secret_key) // 2
    damaged = good.secret_key[:half] + bytes([good.secret_key[half] ^ 1]) + good.secret_key[half + 1 :]
    for data, message in (
        (b"", "no TenSEAL context|encryption parameters"),
        (b"\x0a\x05abc", "cut off"),
        (os.urandom(100), "no TenSEAL context"),
        (unread, "symmetric"),
        (good._replace(secret_key=b"").to_bytes(), "no secret key"),
        (good._replace(public_key=b"").to_bytes(), "no public key"),
        (good._replace(parameters=good.parameters[:-1]).to_bytes(), "no TenSEAL context"),
        (good._replace(secret_key=good.public_key).to_bytes(), "can't be taken over"),
        (good._replace(public_key=good.public_key[:-1]).to_bytes(), "can't be taken over"),
    ):
        with pytest.raises(ConfigError, match=message):
            contexts.take_over(data, parameters)
    with pytest.raises(ConfigError, match="scheme 'ckks', where 'bfv' is awaited"):
        contexts.ring(saved(made), BFV)
    with pytest.raises(ConfigError, match="above 134217728"):
        contexts.serialised(bytes(contexts.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="type int is no TenSEAL context"):
        contexts.serialised(5)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"is for .*4096"):
        contexts.take_over(saved(made), rings.fit(CKKS, Ring(4096, (40, 20, 40)), 16, 3, 100))
    mixed = good._replace(public_key=other.public_key)
    for wrong in (mixed, good._replace(secret_key=damaged)):
        with pytest.raises(ConfigError, match=r"not that of its public key|can't be taken over"):
            contexts.take_over(wrong.to_bytes(), parameters)


def test_rounds_without_a_brought_key_have_the_parameters_that_they_had() -> None:
    """By their digest, which every ciphertext names: as of before rings could be named."""
    known = [
        choose(scheme, bits, clients, 1000).digest for scheme in (BFV, CKKS) for bits, clients in ((16, 3), (8, 100))
    ]
    assert digest("lattice", *known).hex() == KNOWN_PARAMETERS


KNOWN_PARAMETERS: Final = "15a839d285bdc68b7bb52e1c4c1cfc0f15f2cd06fcc1a5c34e4951539c253d27"


def stream(plain: bytes) -> bytes:
    """An object as SEAL saves it, from an uncompressed one."""
    header = seal_format.HEADER
    frame = zstandard.ZstdCompressor(write_checksum=False).compress(plain[header.size :])
    fields = list(header.unpack(plain[: header.size]))
    fields[4], fields[-1] = 2, header.size + len(frame)
    return header.pack(*fields) + frame


@pytest.mark.parametrize("kind", ["no error", "one", "sparse"])
def test_keys_that_anybody_finds_from_their_public_half_are_refused(kind: str) -> None:
    """They are keys to SEAL, and to whoever only looks at whether one half opens what the other has closed."""
    ring = Ring(4096, (40, 20, 40))
    parameters = rings.fit(CKKS, ring, 16, 3, 100)
    fields = lattice_wire.brought_fields(saved(context(CKKS, ring)))
    form = form_of(parameters)
    shapes, primes = (form.secret_key, form.public_key), form.secret_key.primes
    plain = [
        bytearray(seal_format.open_stream(data, shape))
        for data, shape in zip((fields.secret_key, fields.public_key), shapes, strict=True)
    ]
    secret = np.frombuffer(plain[0], "<u8", offset=len(plain[0]) - 8 * 3 * 4096).reshape(3, 4096).copy()
    public = np.frombuffer(plain[1], "<u8", offset=len(plain[1]) - 8 * 6 * 4096).reshape(2, 3, 4096).copy()
    if kind == "one":
        secret[:] = 1
    elif kind == "sparse":  # X^0 + X^2048, whose values are 1 + i and 1 - i for a root i of -1, in SEAL's order
        for place, prime in enumerate(primes):
            root = weak._root(4096, prime)
            quarter = pow(root, 2048, prime)
            secret[place] = np.array(
                [(1 + (quarter if at < 2048 else prime - quarter)) % prime for at in range(4096)], dtype=np.uint64
            )
    for place, prime in enumerate(primes):
        a, s = public[1, place].astype(object), secret[place].astype(object)
        public[0, place] = (-a * s % prime).astype(np.uint64)
        if kind == "no error":
            found = [-int(b) * pow(int(x), -1, prime) % prime for b, x in zip(public[0, place], a, strict=True)]
            assert found == list(s), "everybody has the secret"
    plain[0][-secret.nbytes :], plain[1][-public.nbytes :] = secret.tobytes(), public.tobytes()
    keys = [stream(bytes(each)) for each in plain]
    said = "public key's error" if kind == "no error" else "secret key"
    data = fields._replace(secret_key=keys[0], public_key=keys[1]).to_bytes()
    with pytest.raises(ConfigError, match=f"of its {said} 0% of the coefficients are not 0"):
        contexts.take_over(data, parameters)
