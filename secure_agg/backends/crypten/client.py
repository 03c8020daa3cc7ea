"""The crypten backend's part of a client: shares modulo 2^64 from its own key stream, one for each party."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpc.keys import KeyPair
from mpc.ring import Vector
from mpc.words import Words, last_share, words_to_bytes
from secure_agg.backends.additive import wire as sealing
from secure_agg.backends.additive.rules import start_of
from secure_agg.backends.contract import ClientSide, Hidden, Joining, Letter, commitment_hash
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.backends.crypten.wire import PartyLetter, seal_opening
from secure_agg.errors import LocalProtocolError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import ADVERTISE, encode
from zk.commitment import Commitment
from zk.transcript import digest


class CryptenClient(ClientSide):
    """Splits when it commits, and is done."""

    def __init__(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], parties: AggregatorSet, session: bytes
    ) -> None:
        self._config, self._name, self._derive = config, name, derive
        self._parties, self._session = parties, session
        self._long: Words | None = None
        self._opening = self._hash = b""
        self._holder = start_of(config, name, len(parties.members))

    def __repr__(self) -> str:
        return f"CryptenClient({self._name!r})"

    def _pad(self, party: int) -> bytes:
        return self._derive(f"opening-pad-{party}")

    def _seed(self, party: int) -> bytes:
        return self._derive(f"share-seed-{party}")

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        """A share for each party, and nothing for others."""
        return Joining(self.bind(commitment, nonce, vector), letters=self._letters)

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        """Split, and encrypt the opening to all parties together."""
        names = self._parties.names
        keys = [
            sealing.stream_key(self._seed(i), self._session, self._name, names[i])
            for i in range(len(names))
            if i != self._holder
        ]
        self._long = last_share(vector, keys)
        pads = [self._pad(i) for i in range(len(names))]
        self._hash = commitment_hash(self._config, self._name, commitment.to_bytes(), nonce)
        self._opening = seal_opening(pads, self._session, self._name, commitment.to_bytes(), nonce)
        return nonce

    def _letters(self) -> Sequence[Letter]:
        """One for each party."""
        ephemeral = KeyPair.from_secret(self._derive("share-channel"))
        return [self._letter(ephemeral, party) for party in range(len(self._parties.members))]

    def _letter(self, ephemeral: KeyPair, party: int) -> Letter:
        member = self._parties.members[party]
        bound = (self._session, self._name, member.name)
        key = sealing.share_key(ephemeral.shared_secret(member.channel), *bound)
        context = digest("opening", self._opening)
        long = party == self._holder
        bulk: Hidden = b""
        if long:
            if self._long is None:
                raise LocalProtocolError("the shares were sent before", phase=ADVERTISE)
            bulk, self._long = sealing.seal_long(key, *bound, context, words_to_bytes(self._long)), None
        letter = PartyLetter(
            commitment_hash=self._hash,
            ephemeral=ephemeral.public,
            key_hash=sealing.key_hash(*bound, key),
            opening=self._opening,
            sealed=sealing.seal_small(key, *bound, context, self._pad(party) + (b"" if long else self._seed(party))),
        )
        return Letter(member.name, encode(letter), bulk)
