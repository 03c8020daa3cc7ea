"""The crypten backend's part of the coordinator: it opens commitments, asks the parties, and puts their answers
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpc.ring import P, Vector
from mpc.words import Words, words_from_bytes
from secure_agg.backends.additive.openings import commitment_bytes
from secure_agg.backends.additive.shares import read_vector
from secure_agg.backends.contract import AggregatorSide, Hidden, Outcome, Said, open_commitment
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.backends.crypten import rules
from secure_agg.backends.crypten.wire import Candidates, Collected, Computed, Verdicts, open_opening, opening_bytes
from secure_agg.errors import (
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
    RoundAborted,
    TooFewClients,
    Unattributed,
)
from secure_agg.protocol.agreement import attested_bytes
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.identity import in_id_order, is_id_order, verify_signature
from secure_agg.protocol.messages import ADVERTISE, Message, Opening, Signature, Statement, decode, encode, header_limit
from secure_agg.protocol.session import Session
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES


@dataclass
class _Party:
    """What one party has said."""

    held: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    verdicts: tuple[bool, ...] = ()
    partial_sum: Words | None = None
    result: Vector | None = None
    attestation: Signature | None = None


class CryptenCoordinator(AggregatorSide):
    """All parties have to be there until the end."""

    def __init__(self, config: RoundConfig, parties: AggregatorSet) -> None:
        self._config, self.operators, self._keys = config, parties.names, parties.identities
        self._limit = header_limit(config.cohort_size)
        self._parties = {name: _Party() for name in parties.names}
        self._session: Session | None = None
        self._openings: dict[str, Opening] = {}
        self._candidates: tuple[str, ...] = ()
        self._survivors: tuple[str, ...] = ()
        self._statement: Statement | None = None

    def begin(self, session: Session) -> None:
        """Everybody who has advertised."""
        self._session = session

    # --- parties --------------------------------------------------------------------------------------------

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """Whom to judge, in phase filter.

        Raises:
            TooFewClients: fewer than any set may have.
        """
        if phase == rules.FILTER:
            self._candidates = self._opened()
            least = max(self._config.policy.min_clients, self._joined().quorum)
            if len(self._candidates) < least:
                raise TooFewClients(f"{len(self._candidates)} clients can be judged, {least} are needed", phase=phase)
            return encode(Candidates(self._candidates)), b""
        return b"", b""

    def take(self, phase: str, said: Said) -> None:
        """Take what one party says; a client says nothing of its own."""
        if phase == ADVERTISE:
            return
        name, message = said.name, said.message
        party = self._parties[name]
        if phase == rules.COLLECT:
            self._collected(party, name, message)
        elif phase == rules.FILTER:
            self._judged(party, name, message)
        elif phase == rules.PARTIAL_SUM:
            if message.body:
                raise MalformedMessage("a partial sum with something else", phase=phase, culprit=name)
            try:
                party.partial_sum = words_from_bytes(message.bulk, self._config.layout.total)
            except ValueError as error:
                raise MalformedMessage(f"no partial sum: {error}", phase=phase, culprit=name) from error
        else:
            self._computed(party, name, message)

    def _collected(self, party: _Party, name: str, message: Message) -> None:
        answer = decode(Collected, message.body, self._limit, phase=rules.COLLECT, culprit=name)
        size = opening_bytes(commitment_bytes(self._config))
        names = [item.name for item in answer.accepted]
        if not is_id_order(names) or len(message.bulk) != size * len(names):
            raise MalformedMessage("shares are not in id order, each once", phase=rules.COLLECT, culprit=name)
        if any(len(item.pad) != DIGEST_BYTES for item in answer.accepted):
            raise MalformedMessage("a pad has a wrong size", phase=rules.COLLECT, culprit=name)
        for place, item in enumerate(answer.accepted):
            party.held[item.name] = (item.pad, bytes(message.bulk[place * size : (place + 1) * size]))

    def _opened(self) -> tuple[str, ...]:
        """The clients that all parties hold shares of, and whose commitments open; of two with the same commitment the
        first: verifiers refuse a commitment that is there twice.
        """
        if self._openings:
            return tuple(self._openings)
        held = [party.held for party in self._parties.values()]
        session = self._joined()
        seen: set[Commitment] = set()
        for name in in_id_order(set(session.members).intersection(*held)):
            items = [shares[name] for shares in held]
            if len({opening for _, opening in items}) != 1:
                continue
            try:
                commitment, nonce = open_opening([pad for pad, _ in items], session.sid, name, items[0][1])
                opened = open_commitment(session, name, commitment, nonce)
            except (ValueError, RemoteProtocolError):
                continue
            if opened in seen:
                continue
            seen.add(opened)
            self._openings[name] = Opening(name, commitment, nonce)
        return tuple(self._openings)

    def _judged(self, party: _Party, name: str, message: Message) -> None:
        verdicts = decode(Verdicts, message.body, self._limit, phase=rules.FILTER, culprit=name).accepted
        if len(verdicts) != len(self._candidates) or len(message.bulk):
            raise MalformedMessage("verdicts on another number of clients", phase=rules.FILTER, culprit=name)
        for other, said in self._parties.items():
            if said.verdicts and said.verdicts != verdicts:
                raise Unattributed(f"{other!r} and {name!r} differ in whom they accept", phase=rules.FILTER)
        party.verdicts = verdicts

    def _computed(self, party: _Party, name: str, message: Message) -> None:
        answer = decode(Computed, message.body, self._limit, phase=rules.COMPUTE, culprit=name)
        try:
            result = read_vector(self._config, message.bulk)
        except ValueError as error:
            raise MalformedMessage(f"no result: {error}", phase=rules.COMPUTE, culprit=name) from error
        for other, said in self._parties.items():
            if said.result is not None and not np.array_equal(said.result, result):
                raise Unattributed(f"{other!r} and {name!r} differ in the result", phase=rules.COMPUTE)
        if self._statement is None or answer.attestation.name != name:
            raise MalformedMessage("an attestation of somebody else", phase=rules.COMPUTE, culprit=name)
        signed = attested_bytes(self._joined().sid, rules.SignedByParties().root(self._statement), result)
        verify_signature(self._keys[name], answer.attestation.signature, signed, phase=rules.COMPUTE, culprit=name)
        party.result, party.attestation = result, answer.attestation

    def survivors(self) -> tuple[str, ...]:
        """Whom the parties have accepted."""
        verdicts = next(iter(self._parties.values())).verdicts
        return tuple(name for name, accepted in zip(self._candidates, verdicts, strict=True) if accepted)

    def agree(self, survivors: tuple[str, ...]) -> None:
        """S has been fixed."""
        self._survivors = survivors
        self._statement = rules.SignedByParties().statement(self._joined(), dict.fromkeys(survivors, b""))

    def _joined(self) -> Session:
        if self._session is None:
            raise LocalProtocolError("the participants are not fixed")
        return self._session

    # --- result ---------------------------------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """The openings of S, and the sum; or the result that is none, with all parties' signatures."""
        openings = tuple(self._openings[name] for name in self._survivors)
        attestation = tuple(party.attestation for party in self._parties.values() if party.attestation is not None)
        return Outcome(self._total(), openings, attestation)

    def _total(self) -> Vector:
        """The parties' partial sums, added up modulo 2^64; or what they have all signed.

        Raises:
            Unattributed: no sum of what clients may send.
        """
        results = [party.result for party in self._parties.values() if party.result is not None]
        if results:
            return results[0]
        total = np.zeros(self._config.layout.total, dtype=np.uint64)
        for party in self._parties.values():
            if party.partial_sum is None:
                raise RoundAborted("a partial sum is missing", phase=rules.PARTIAL_SUM)
            total += party.partial_sum
        if int(total.max(initial=0)) >= P:
            raise Unattributed(
                "the partial sums add up to no sum of updates: a party has answered wrongly", phase=rules.PARTIAL_SUM
            )
        return total.astype(np.uint32)
