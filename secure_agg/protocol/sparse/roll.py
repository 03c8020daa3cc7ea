"""Sets of a cohort's members as bits, and the tree over all positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import MalformedMessage
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import SignedAdvertisement, encode
from secure_agg.protocol.sparse.wire import Roll, Shown, ShownAdvertisement
from zk import merkle
from zk.merkle import HASH_BYTES, Tree

ABSENT: Final = b""
"""The leaf of whoever did not advertise: no encoding is empty."""


def bitmap(positions: Iterable[int], size: int) -> bytes:
    """A bit for each position below ``size``, lowest bits of the first byte first."""
    bits = bytearray(-(-size // 8))
    for position in positions:
        bits[position >> 3] |= 1 << (position & 7)
    return bytes(bits)


def positions_of(bits: bytes, size: int, *, phase: str) -> tuple[int, ...]:
    """The positions whose bits are set, in order.

    Raises:
        MalformedMessage: another number of bytes, or a bit beyond the last position.
    """
    if len(bits) != -(-size // 8) or int.from_bytes(bits, "little") >> size:
        raise MalformedMessage(f"{len(bits)} bytes are not one bit for each of {size} members", phase=phase)
    return tuple(position for position in range(size) if bits[position >> 3] >> (position & 7) & 1)


def split_hashes(data: bytes, *, phase: str) -> list[bytes]:
    """Hashes that were sent one after the other.

    Raises:
        MalformedMessage: there is a part of one.
    """
    if len(data) % HASH_BYTES:
        raise MalformedMessage(f"{len(data)} bytes are no hashes of {HASH_BYTES}", phase=phase)
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def leaf(advertisement: SignedAdvertisement) -> bytes:
    """The leaf of a position that is filled."""
    return encode(advertisement)


@dataclass(frozen=True)
class Neighbourhood:
    """What a session is besides those whom a client sees.

    Attributes:
        roll: who advertised.
        cohort: identity keys of everybody, by id. names: in order of positions. positions: the other way round.
        tree: over all positions; of whoever holds all advertisements.
    """

    roll: Roll
    cohort: Roster
    names: tuple[str, ...]
    positions: Mapping[str, int]
    tree: Tree | None = None

    @staticmethod
    def called(cohort: Roster, roll: Roll, tree: Tree | None = None) -> Neighbourhood:
        """As a client is told of it."""
        return Neighbourhood(roll, cohort, tuple(cohort), {name: i for i, name in enumerate(cohort)}, tree)

    @staticmethod
    def of(cohort: Roster, advertisements: Sequence[SignedAdvertisement]) -> Neighbourhood:
        """From all advertisements."""
        filled = {item.name: leaf(item) for item in advertisements}
        tree = Tree([filled.get(name, ABSENT) for name in cohort])
        present = bitmap((place for place, name in enumerate(cohort) if name in filled), len(cohort))
        return Neighbourhood.called(cohort, Roll(present, tree.root()), tree)

    def bits(self, names: Iterable[str]) -> bytes:
        """A set of members, as bits."""
        return bitmap((self.positions[name] for name in names), len(self.names))

    def members(self, bits: bytes, *, phase: str) -> tuple[str, ...]:
        """The other way round.

        Raises:
            MalformedMessage: see ``positions_of``.
        """
        return tuple(self.names[position] for position in positions_of(bits, len(self.names), phase=phase))

    def show(self, names: Iterable[str], advertisements: Mapping[str, SignedAdvertisement]) -> Shown:
        """Some members' advertisements, with what leads to the root.

        Raises:
            ValueError: there is no tree at hand.
        """
        if self.tree is None:
            raise ValueError("who holds no tree shows no paths")
        wanted = sorted(self.positions[name] for name in names)
        items = [(position, advertisements[self.names[position]]) for position in wanted]
        shown = tuple(ShownAdvertisement(position, item.body, item.signature) for position, item in items)
        return Shown(shown, b"".join(self.tree.beside(wanted)))

    def show_nobody(self) -> Shown:
        """Nothing but the root."""
        return Shown((), self.roll.root)

    def read(self, shown: Shown, *, phase: str) -> tuple[SignedAdvertisement, ...]:
        """Advertisements that were shown, if the roll's root is of them. Their signatures are not looked at.

        Raises:
            MalformedMessage: out of order, of somebody whose bit is not set, or not in the tree.
        """
        places = [item.position for item in shown.advertisements]
        here = frozenset(positions_of(self.roll.present, len(self.names), phase=phase))
        if places != sorted(set(places)) or not here.issuperset(places):
            raise MalformedMessage("advertisements are not in order, each of somebody who is there", phase=phase)
        found = tuple(
            SignedAdvertisement(self.names[item.position], item.body, item.signature) for item in shown.advertisements
        )
        leaves = {place: merkle.leaf_hash(leaf(item)) for place, item in zip(places, found, strict=True)}
        try:
            root = merkle.subset_root(leaves, len(self.names), split_hashes(shown.path, phase=phase))
        except merkle.MerkleError as error:
            raise MalformedMessage(f"advertisements are not in the session: {error}", phase=phase) from error
        if root != self.roll.root:
            raise MalformedMessage("an advertisement is not the one that the session follows from", phase=phase)
        return found
