"""A committee of three, two of whom decrypt: what a split Paillier key costs its members and the aggregator."""

from __future__ import annotations

import secrets
from typing import Final

from benchmarks.he.lattice import exact_row
from benchmarks.he.options import HeOptions
from benchmarks.he.paillier import scaled
from benchmarks.results import Row
from benchmarks.timing import Samples, interleaved, timed
from mpc.keystream import KEY_BYTES, KeyStream
from mpc.paillier import threshold as threshold_paillier
from mpc.paillier.paillier import Encryptor
from mpc.paillier.threshold import KeyShare, ThresholdKey
from zk.partial_decryption import PartialDecryptionProof, PartialDecryptionStatement, prove, verify

MEMBERS: Final = ("north", "east", "south", "west")
THRESHOLD: Final = 3
CIPHERTEXTS: Final = 64
"""Distinct ciphertexts; proofs are over as many as a vector has, so these are repeated."""


class Committee:
    """The operands; each method is one repetition."""

    def __init__(self, key: ThresholdKey, shares: dict[str, KeyShare], count: int) -> None:
        """``count``: ciphertexts of a vector."""
        self.sampled, self._count = min(count, CIPHERTEXTS), count
        self._key, self._shares = key, shares
        self._plaintexts = [secrets.randbelow(key.public.n) for _ in range(self.sampled)]
        stream = KeyStream(secrets.token_bytes(KEY_BYTES))
        self._ciphertexts = Encryptor(key.public).encrypt(self._plaintexts, stream)
        chosen = MEMBERS[:THRESHOLD]
        self._partials = {name: threshold_paillier.partial_decrypt(shares[name], self._ciphertexts) for name in chosen}
        self._whole = {name: self._repeated(values) for name, values in self._partials.items()}
        self._repeated_ciphertexts = self._repeated(self._ciphertexts)
        self._proof: PartialDecryptionProof | None = None
        self._combined: list[int] = []

    def _repeated(self, values: list[int]) -> list[int]:
        return (values * -(-self._count // len(values)))[: self._count]

    def _statement(self) -> PartialDecryptionStatement:
        name = MEMBERS[0]  # made anew each time: it keeps its digest
        return PartialDecryptionStatement(self._key, name, b"benchmark", self._repeated_ciphertexts, self._whole[name])

    def decrypt(self) -> None:
        """One member's answers to the sample."""
        threshold_paillier.partial_decrypt(self._shares[MEMBERS[0]], self._ciphertexts)

    def prove(self) -> None:
        """One member's proof for a vector."""
        self._proof = prove(self._shares[MEMBERS[0]], self._statement())

    def verify(self) -> None:
        """The aggregator checks it."""
        if self._proof is None:
            raise ValueError("there is no proof to verify")
        verify(self._statement(), self._proof)

    def combine(self) -> None:
        """The aggregator combines the answers to a vector."""
        self._combined = threshold_paillier.combine(self._key, self._whole, self._count)

    def error(self) -> float:
        """Number of plaintexts that came out wrong."""
        wanted = self._repeated(self._plaintexts)
        return float(sum(got != exact for got, exact in zip(self._combined, wanted, strict=True)))


def rows(options: HeOptions) -> list[Row]:
    """Dealing the key, answering, proving, checking, combining."""
    dealt: list[tuple[ThresholdKey, dict[str, KeyShare]]] = []
    dealing = timed(lambda: dealt.append(threshold_paillier.deal(THRESHOLD, MEMBERS, bits=options.modulus_bits)))
    count = options.packing.ciphertexts(options.params)
    committee = Committee(*dealt[0], count)
    samples = interleaved(
        {
            "decrypt": committee.decrypt,
            "prove": committee.prove,
            "verify": committee.verify,
            "combine": committee.combine,
        },
        options.repeat,
    )
    sampled = committee.sampled

    def row(key: str, name: str, seconds: Samples, note: str = "") -> Row:
        return Row.timed(
            f"committee.{key}",
            f"committee: {name}",
            seconds,
            derived=1e6 * seconds.median / count,
            derived_unit="µs/ciphertext",
            note=note,
        )

    extrapolated = f"extrapolated from {sampled} of {count:,} ciphertexts" if sampled < count else ""
    repeated = f"{count:,} ciphertexts, {sampled} of them distinct" if sampled < count else ""
    whole = scaled(samples["decrypt"], count / sampled)
    return [
        Row.timed(
            "committee.deal",
            "committee: deal the key",
            Samples((dealing,)),
            note=f"{THRESHOLD} of {len(MEMBERS)}, {options.modulus_bits} bits; once; depends on luck",
        ),
        row("decrypt", "a member's partial decryption of a sum", whole, extrapolated),
        row("prove", "its proof", samples["prove"], repeated),
        row("verify", "check of one member's proof", samples["verify"], repeated),
        row("combine", "combine three members' answers", samples["combine"], repeated),
        exact_row("committee", "committee: plaintexts that came out wrong", committee.error(), ""),
    ]
