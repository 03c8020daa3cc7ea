"""What the contract and everybody who checks it compute alike: the packing, the entries and the points of evaluation.

**Packing.** A commitment C_i is k·512 residues below p < 2^31. Six of them make one scalar, residue 6j + i at bit 42·i
of scalar j: 256 scalars at rank 3, 342 at rank 4, the last with two residues. A slot has 42 bits, so the scalars of up
to 2^11 commitments add up without a carry, and stay below 2^252 < r. The slots of the sum M, modulo p, are ΣC_i.

**Entries.** K_i is the KZG commitment to the polynomial whose coefficients are C_i's scalars. An entry is the place of
participant i in the statement that was signed, and K_i; the entries' tree head (RFC 9162) binds all of them.

**Points of evaluation** are hashed from everything that the opening is about, and from chain and contract. The value
there is computed by the verifier, from M or C_i; a prover supplies none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mpc.framing import frame, integer
from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES, Vector, from_bytes
from secure_agg.errors import VerificationError
from zk import kzg, merkle
from zk.transcript import digest

SLOT_BITS: Final = 42
SLOTS: Final = 6
WORD_BYTES: Final = 32
MAX_CLIENTS: Final = 1024
"""Most participants of a round that the contract takes; the slots would hold 2048."""
MAX_MEMBERS: Final = 1 << 20
"""Most leaves of the statement that was signed."""
RANKS: Final = (3, 4)


def pack(elements: Vector) -> tuple[int, ...]:
    """The scalars of a commitment, or of any vector of residues.

    Args:
        elements: canonical residues modulo p; padded with zeros to whole scalars.
    """
    values = elements.tolist()
    return tuple(
        sum(value << SLOT_BITS * i for i, value in enumerate(values[j : j + SLOTS]))
        for j in range(0, len(values), SLOTS)
    )


def add_packed(packed: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """M: the scalars' sums over the integers, of at least one and at most 2^11 packed commitments."""
    return tuple(map(sum, zip(*packed, strict=True)))


def decode_commitment(data: bytes) -> tuple[int, ...]:
    """The scalars of an encoded commitment.

    Raises:
        VerificationError: of another size than ranks 3 and 4 have, or not canonical.
    """
    if len(data) not in {rank * N * ELEMENT_BYTES for rank in RANKS}:
        raise VerificationError(f"{len(data)} bytes are no commitment of rank 3 or 4")
    try:
        return pack(from_bytes(data))
    except ValueError as error:
        raise VerificationError(str(error)) from error


class Domain(NamedTuple):
    """Where a statement is made: it holds for one contract on one chain.

    Attributes:
        chain: its id (EIP-155).
        contract: the address, 20 bytes.
    """

    chain: int
    contract: bytes


class Entry(NamedTuple):
    """One participant of a registered round.

    Attributes:
        place: index of its leaf in the statement that was signed.
        point: K_i, 128 bytes, as EIP-2537 has it.
    """

    place: int
    point: bytes

    def to_bytes(self) -> bytes:
        """A leaf of the entries' tree, 160 bytes: the place in 32, big endian, and the point."""
        return self.place.to_bytes(WORD_BYTES, "big") + self.point

    def words(self) -> list[int]:
        """The five integers that the contract takes."""
        data = self.to_bytes()
        return [int.from_bytes(data[i : i + WORD_BYTES], "big") for i in range(0, len(data), WORD_BYTES)]

    @staticmethod
    def from_words(words: Sequence[int]) -> Entry:
        """The inverse of ``words``."""
        return Entry(words[0], b"".join(word.to_bytes(WORD_BYTES, "big") for word in words[1:]))


def entries_root(entries: Sequence[Entry]) -> bytes:
    """The tree head over the entries."""
    return merkle.root([entry.to_bytes() for entry in entries])


def leaf_at(place: int, claimed: int, size: int) -> int | None:
    """Which leaf of a tree of ``size`` leaves has an inclusion proof as number ``place`` of ``claimed``: the one at the
    end of the same path, if that ends at a leaf.
    """
    if not 0 <= place < claimed:
        return None
    begin = 0
    while claimed > 1 and size > 1:
        left, real = _left(claimed), _left(size)
        if place < left:
            claimed, size = left, real
        else:
            place, begin = place - left, begin + real
            claimed, size = claimed - left, size - real
    return begin if claimed == size == 1 else None


def _left(size: int) -> int:
    """Leaves of the left subtree: the largest power of two below ``size`` (≥ 2)."""
    return 1 << (size - 1).bit_length() - 1


def member_leaf(name: str, value: bytes) -> bytes:
    """A participant's leaf in the statement that was signed; value is D("commitment", C_i), or D_i."""
    return frame("survivor", name.encode(), value)


def statement_value(task: str, round: int, attempt: int, name: str, commitment: bytes, nonce: bytes) -> bytes:
    """What a statement holds of a participant, as far as the contract can open it: the digest of its commitment or,
    with a nonce, its commitment hash D_i.
    """
    if not nonce:
        return digest("commitment", commitment)
    return digest("commitment-hash", task.encode(), integer(round), integer(attempt), name.encode(), commitment, nonce)


def _context(domain: Domain, leaf: bytes, entries: bytes) -> tuple[bytes, ...]:
    return domain.chain.to_bytes(WORD_BYTES, "big"), domain.contract.rjust(WORD_BYTES, b"\0"), leaf, entries


def _point(label: str, *parts: bytes) -> int:
    return int.from_bytes(digest(label, *parts), "big") % kzg.MODULUS


def participant_point(domain: Domain, leaf: bytes, entries: bytes, index: int, commitment: bytes) -> int:
    """Where one participant's packed commitment is evaluated.

    Args:
        leaf: RFC 9162 leaf hash of the round's record, 32 bytes: it is of one task and round.
        entries: tree head over the entries.
        index: of the participant's entry.
        commitment: C_i, encoded.
    """
    number = index.to_bytes(WORD_BYTES, "big")
    hashed = hashlib.sha256(commitment).digest()
    return _point("anchor-participant", *_context(domain, leaf, entries), number, hashed)


@dataclass(frozen=True)
class SumStatement:
    """ "The polynomials in these entries add up to the one with these coefficients."

    Attributes:
        leaf: RFC 9162 leaf hash of the round's record, 32 bytes.
        members: leaves of the statement that was signed.
        entries: of the participants, in the order of that statement.
        sums: M.
    """

    leaf: bytes
    members: int
    entries: tuple[Entry, ...]
    sums: tuple[int, ...]

    def point(self, domain: Domain) -> int:
        """Where the sum is evaluated."""
        numbers = b"".join(number.to_bytes(WORD_BYTES, "big") for number in (len(self.sums), *self.sums))
        return _point(
            "anchor-sum",
            *_context(domain, self.leaf, entries_root(self.entries)),
            self.members.to_bytes(WORD_BYTES, "big"),
            hashlib.sha256(numbers).digest(),
        )

    def open(self, domain: Domain) -> bytes:
        """The opening that the contract checks, 48 bytes."""
        return kzg.open_at(self.sums, self.point(domain))[1]
