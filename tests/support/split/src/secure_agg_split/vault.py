"""Backend ``vault``, of the same stranger: clients add a mask that one key holder can make too, and takes out again.

The mask comes from a key that a client agrees on with the key holder's public key, so the sum of all masks opens the
sum. The key holder is trusted not to collude with the aggregator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from mpc import ring
from mpc.keys import KeyAgreementError, KeyPair, check_public
from mpc.keystream import KeyStream, derive_key
from mpc.ring import Vector
from secure_agg.backends.contract import (
    AggregatorSide,
    Answer,
    ClientSide,
    Hidden,
    Joining,
    KeyedBackend,
    Once,
    Opener,
    Outcome,
    Phase,
    PhaseKind,
    Said,
    TrustStatement,
    hidden_vector,
    opened_sum,
)
from secure_agg.errors import BadInput, BadKey, MalformedMessage, Unattributed
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.evidence import DECRYPT
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY, Wire, decode, encode, header_limit
from secure_agg.protocol.session import Participants
from zk.commitment import Commitment

INPUT = "masked-input"


class Masked(Wire, frozen=True):
    """Phase masked-input: the public key that the mask was made with. Bulk: the masked vector."""

    ephemeral: bytes


class Summed(Wire, frozen=True):
    """Phase decrypt, request: the participants' public keys, in id order. Bulk: the sum of the masked vectors."""

    ephemerals: tuple[bytes, ...]


def mask(shared: bytes, config: RoundConfig) -> Vector:
    """Of one client in one attempt."""
    return KeyStream(derive_key(shared, "vault", config.context)).residue_vector(config.layout.total)


class VaultClient(ClientSide):
    """Masks with a key of its own."""

    def __init__(self, config: RoundConfig, pair: KeyPair, public: bytes) -> None:
        self._config, self._pair, self._public = config, pair, public

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        return Joining(nonce)

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        def add(vector: Vector) -> tuple[bytes, Hidden]:
            ring.add_into(vector, mask(self._pair.shared_secret(self._public), self._config))
            return encode(Masked(self._pair.public)), ring.byte_view(vector)

        return add


class VaultAggregator(AggregatorSide):
    """Adds masked vectors, and keeps the keys that their masks were made with."""

    def __init__(self, config: RoundConfig, holders: tuple[str, ...]) -> None:
        self._config, self.operators = config, holders
        self._sum = np.zeros(config.layout.total, dtype=np.uint32)
        self._ephemerals: dict[str, bytes] = {}
        self._outcome: Outcome | None = None

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        if phase != DECRYPT:
            return b"", b""
        ordered = sorted(self._ephemerals, key=str.encode)
        return encode(Summed(tuple(self._ephemerals[name] for name in ordered))), ring.byte_view(self._sum)

    def take(self, phase: str, said: Said) -> None:
        name, message = said.name, said.message
        if phase == INPUT:
            ephemeral = decode(Masked, said.part, 64, phase=phase, culprit=name).ephemeral
            ring.add_into(self._sum, hidden_vector(message.bulk, phase=phase, culprit=name))
            self._ephemerals[name] = ephemeral
        elif phase == DECRYPT:
            sums = opened_sum(self._config, said)
            if sums is not None:
                self._outcome = Outcome(sums, vouched_by=name)

    def outcome(self) -> Outcome:
        if self._outcome is None:
            raise Unattributed("the key holder did not open the sum: it failed the check", phase=DECRYPT)
        return self._outcome


class VaultOpener(Opener):
    """An X25519 key."""

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair

    @property
    def public(self) -> bytes:
        return self._pair.public

    def secret_bytes(self) -> bytes:
        return self._pair.secret

    def check(self, participants: Participants, request: bytes, hidden: memoryview) -> None:
        self._masks(participants, request)
        if len(hidden) != 4 * participants.session.config.layout.total:
            raise MalformedMessage("a sum of another size", phase=DECRYPT)

    def _masks(self, participants: Participants, request: bytes) -> list[Vector]:
        config = participants.session.config
        ephemerals = decode(Summed, request, header_limit(config.cohort_size), phase=DECRYPT).ephemerals
        if len(ephemerals) != len(participants.openings):
            raise MalformedMessage("not one key for each participant", phase=DECRYPT)
        try:
            return [mask(self._pair.shared_secret(ephemeral), config) for ephemeral in ephemerals]
        except KeyAgreementError as error:
            raise BadInput(f"no public key: {error}", phase=DECRYPT) from error

    def open(self, participants: Participants, request: bytes, hidden: memoryview) -> Answer:
        try:
            total = ring.from_bytes(hidden).copy()
        except ValueError as error:
            raise BadInput("it opens to no sum", phase=DECRYPT) from error
        for each in self._masks(participants, request):
            ring.subtract_from(total, each)
        return Answer(sums=total)


class VaultBackend(KeyedBackend):
    """Masks that a key holder takes out of the sum."""

    name = "vault"
    trust = TrustStatement(
        summary="a key holder of another package takes masks out of the sum",
        trusted="the key holder does not collude with the aggregator",
        dropouts="tolerated before the input phase; the key holder must answer",
        post_quantum="no",
        limits="for tests",
    )

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Who is in the sum is agreed before it is opened."""
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(INPUT, PhaseKind.INPUT),
            Phase(CONSISTENCY, PhaseKind.AGREE),
            Phase(DECRYPT, PhaseKind.OPEN),
        )

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """Masks under the certified key."""
        return VaultClient(config, KeyPair.from_secret(derive("ephemeral")), self.certificate(setup).public)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """Adds up."""
        return VaultAggregator(config, self.certificate(setup).names)

    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """One key."""
        (holder,) = holders
        return {holder: VaultOpener(KeyPair.from_secret(os.urandom(32)))}

    def opener(self, policy: Policy, data: bytes) -> Opener:
        """From its secret."""
        if len(data) != 32:
            raise BadKey("no secret of this backend")
        return VaultOpener(KeyPair.from_secret(data))

    def check_key(self, config: RoundConfig, public: bytes, holders: tuple[str, ...]) -> None:
        """An X25519 key that is not of low order."""
        try:
            check_public(public)
        except KeyAgreementError as error:
            raise BadKey(str(error), phase=ADVERTISE) from error
