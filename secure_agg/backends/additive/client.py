"""The additive backend's part of a client: it splits its vector, seals a share for each aggregator, and is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mpc.keys import KeyPair
from mpc.ring import Vector, byte_view
from mpc.vector_shares import Scheme, expand, weighted_sum
from secure_agg.backends.additive import rules, shares, wire
from secure_agg.backends.contract import ClientSide, Hidden, Joining, Letter
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.backends.packed import Committed
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import encode
from zk.commitment import Commitment


class AdditiveClient(ClientSide):
    """Splits when it commits. All that it sends derives from its attempt's secret, so sent again it is the same."""

    def __init__(
        self,
        config: RoundConfig,
        name: str,
        derive: Callable[[str], bytes],
        scheme: Scheme,
        aggregators: AggregatorSet,
        session: bytes,
    ) -> None:
        self._config, self._name, self._derive = config, name, derive
        self._scheme, self._aggregators, self._session = scheme, aggregators, session
        self._long: dict[int, Vector] = {}
        self._hashes = self._base = b""

    def __repr__(self) -> str:
        return f"AdditiveClient({self._name!r})"

    def _seed(self, party: int) -> bytes:
        return self._derive(f"share-seed-{party}")

    def _nonce(self, party: int) -> bytes:
        return self._derive(f"share-nonce-{party}")

    def start_from(self, base: bytes) -> None:
        """It goes into D_i and into every letter, behind the hashes."""
        self._base = base

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        """What the client signs of its shares, and the shares. D_i is made from the hashes of their commitments."""
        hashes = self.bind(commitment, nonce, vector)
        return Joining(hashes, self._hashes, shares.commitment_hash(self._config, self._name, hashes), self._letters)

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        """Split. A free share's hash is computed, a long one's follows from those and the vector's, being linear.

        Returns:
            The hashes of all shares' commitments and of the vector's, which D_i is made from.
        """
        shared = Committed(self._config).load(vector)
        names, start = self._aggregators.names, rules.start_of(self._config, self._name, self._scheme.parties)
        long = self._scheme.long_holders(start)
        free = [party for party in range(self._scheme.parties) if party not in long]
        hashes: dict[int, Vector] = {}
        factors = {party: self._scheme.factors(party, free) for party in long}
        self._long = {party: weighted_sum([shared], [factors[party][0]]) for party in long}
        share = np.empty_like(shared)  # one after another
        for place, party in enumerate(free):
            key = wire.stream_key(self._seed(party), self._session, self._name, names[party])
            added = [(self._long[other], factors[other][1][place]) for other in long]
            expand(key, shared.size, added, out=share)
            hashes[party] = rules.linear_hash(self._config, share).elements
        for party in long:
            first, others = factors[party]
            hashes[party] = weighted_sum([commitment.elements, *(hashes[i] for i in free)], [first, *others])
        self._hashes = b"".join(
            rules.share_hash(self._config, self._name, i, Commitment(hashes[i]).to_bytes(), self._nonce(i))
            for i in range(self._scheme.parties)
        )
        self._hashes += rules.whole_hash(self._config, self._name, commitment.to_bytes()) + self._base
        return self._hashes

    def _letters(self) -> Sequence[Letter]:
        """One for each aggregator: a key, or the long share."""
        ephemeral = KeyPair.from_secret(self._derive("share-channel"))
        return [self._letter(ephemeral, party) for party in range(self._scheme.parties)]

    def _letter(self, ephemeral: KeyPair, party: int) -> Letter:
        member = self._aggregators.members[party]
        bound = (self._session, self._name, member.name)
        key = wire.share_key(ephemeral.shared_secret(member.channel), *bound)
        long = self._long.pop(party, None)
        small = self._nonce(party) + (self._seed(party) if long is None else b"")
        letter = wire.ShareLetter(
            ephemeral=ephemeral.public,
            key_hash=wire.key_hash(*bound, key),
            hashes=self._hashes,
            sealed=wire.seal_small(key, *bound, self._hashes, small),
        )
        bulk: Hidden = b""
        if long is not None:
            bulk = wire.seal_long(key, *bound, self._hashes, byte_view(long))
        return Letter(member.name, encode(letter), bulk)
