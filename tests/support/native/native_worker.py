"""Feeds samples to what stands before native code, in a process that may die of them: run as a script.

It writes one line of JSON with the honest samples of every target, in base64, then limits its memory and answers each
request, ``target (u8) ‖ length (u32) ‖ sample``, with one line: a verdict and what there is to say. Verdicts:

* ``taken``: with a digest of what was made of it;
* ``refused``: by an exception of the package, which nothing in a library has set off;
* ``library``: by an exception of the package, but SEAL was reached and refused something;
* ``untyped``: any other exception.
"""

from __future__ import annotations

import base64
import hashlib
import json
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from gmpy2 import powmod
from support.federation import paillier_key, threshold_shares

from mpc.paillier.packing import Packing, parse_vector, write_vector
from mpc.paillier.paillier import PaillierError
from secure_agg.backends.homomorphic import lattice, paillier_scheme
from secure_agg.backends.homomorphic.lattice import Accumulator, PublicKey, SecretKey
from secure_agg.backends.homomorphic.lattice_parameters import BFV, CKKS, choose
from secure_agg.errors import BadInput, SecureAggError
from secure_agg.protocol.refusal import LIBRARY_ERRORS

REQUEST: Final = struct.Struct("<BI")
HEADROOM: Final = 256 << 20
"""Bytes of address space beyond what the honest samples need."""

Take = Callable[[bytes], bytes]


class Target(NamedTuple):
    """What takes a sample, and returns bytes of what it made of it; honest samples."""

    name: str
    take: Take
    seeds: tuple[bytes, bytes]


def lattice_targets(scheme: str) -> Iterator[Target]:
    total = choose(scheme, 16, 8, 1).chunk_values + 5
    parameters = choose(scheme, 16, 8, total)
    secret, other = lattice.keygen(parameters), lattice.keygen(parameters)
    public = secret.public
    vectors = [np.random.default_rng(i).integers(0, 1 << 16, total, dtype=np.uint32) for i in range(2)]
    first, second = (lattice.encrypt(public, vector) for vector in vectors)

    def add(data: bytes) -> bytes:
        accumulator = Accumulator(public)
        accumulator.add(first)
        before = accumulator._sum[0].serialize()
        try:
            accumulator.add(data)
        except SecureAggError:
            if accumulator._sum[0].serialize() != before:
                raise AssertionError("a refused vector has changed the sum") from None
            raise
        return lattice.decrypt(secret, accumulator.total(), 2).tobytes() if data in (first, second) else b""

    def open_sum(data: bytes) -> bytes:
        lattice.check(public, data, 2)
        return lattice.decrypt(secret, data, 2).tobytes()

    def summed(*added: bytes) -> bytes:
        accumulator = Accumulator(public)
        for data in added:
            accumulator.add(data)
        return accumulator.total()

    yield Target(f"{scheme} vector", add, (first, second))
    yield Target(f"{scheme} sum", open_sum, (summed(first, second), summed(second, second)))
    keys = (public.to_bytes(), other.public_bytes())
    yield Target(f"{scheme} public key", lambda data: PublicKey.from_bytes(data, parameters).plain, keys)
    secrets = (secret.secret_bytes(), other.secret_bytes())
    yield Target(f"{scheme} secret key", lambda data: SecretKey.from_bytes(data, parameters).public_bytes(), secrets)


def paillier_targets() -> Iterator[Target]:
    key = paillier_key(2048)
    public, packing, length = key.public, Packing(0xFFFF, 8, 2048), 300
    n, n_squared = public.n, int(public.n_squared)

    def vector(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        obfuscators = [int.from_bytes(rng.bytes(250), "little") for _ in range(packing.ciphertexts(length))]
        return write_vector(public, packing, [int(powmod(r, n, n_squared)) for r in obfuscators], length)

    def parse(data: bytes) -> bytes:
        return public.serialise(parse_vector(public, packing, data, length))

    whole = paillier_scheme.PaillierOpener(key)
    share = next(iter(threshold_shares(2, ("keyholder-1", "keyholder-2", "keyholder-3")).values()))
    member = paillier_scheme.CommitteeOpener(share)

    def read_key(data: bytes) -> bytes:
        return paillier_scheme.write_public(paillier_scheme.read_public(data, 2048))

    yield Target("paillier vector", parse, (vector(1), vector(2)))
    yield Target("paillier public key", read_key, (whole.public, member.public))
    stored = (whole.secret_bytes(), member.secret_bytes())
    yield Target("paillier secret key", lambda data: paillier_scheme.restore(data, 2048).public, stored)


def targets() -> list[Target]:
    return [*lattice_targets(BFV), *lattice_targets(CKKS), *paillier_targets()]


def expected(error: Exception) -> bool:
    """Whether it is the package's own."""
    return isinstance(error, SecureAggError | PaillierError)


def set_off(error: BaseException) -> BaseException | None:
    """What a compiled library has raised, if an exception came from that."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, LIBRARY_ERRORS) and not isinstance(cause, SecureAggError | PaillierError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def judge(target: Target, data: bytes) -> tuple[str, str]:
    strict = target.name.startswith((BFV, CKKS))
    try:
        made = target.take(data)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        if not expected(error):
            return "untyped", said
        cause = set_off(error)
        # That a valid ciphertext cancels the sum is SEAL's own finding of a result: nothing that it has parsed.
        if cause is not None and strict and not (isinstance(error, BadInput) and "cancels" in said):
            return "library", f"{said}, from {type(cause).__name__}: {cause}"
        return "refused", said
    return "taken", hashlib.sha256(made).hexdigest()


def limit_memory() -> None:
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + HEADROOM,) * 2)


def say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer until the input ends."""
    known = targets()
    verdicts = [judge(target, seed) for target in known for seed in target.seeds]
    if any(verdict != "taken" for verdict, _ in verdicts):
        raise SystemExit(f"an honest sample was not taken: {verdicts}")
    seeds = {target.name: [base64.b64encode(seed).decode() for seed in target.seeds] for target in known}
    limit_memory()
    say(seeds)
    source = sys.stdin.buffer
    while head := source.read(REQUEST.size):
        which, length = REQUEST.unpack(head)
        say(judge(known[which], source.read(length)))


if __name__ == "__main__":
    main()
