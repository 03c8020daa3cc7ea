"""The additive backend's part of the coordinator, which brings clients and aggregators together and holds nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc.ring import Vector
from mpc.vector_shares import Scheme, weighted_sum
from secure_agg.backends.additive import faults, openings, rules, shares
from secure_agg.backends.additive.wire import Collected, OpenedShares, PartialSum, Reveal, Revealed, Reveals
from secure_agg.backends.contract import AggregatorSide, Hidden, Outcome, Said, Session
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.backends.packed import Committed
from secure_agg.errors import (
    BadCommitment,
    DealerFault,
    LocalProtocolError,
    MalformedMessage,
    OperatorFault,
    RoundAborted,
    VerificationError,
    stamping,
)
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import in_id_order, is_id_order
from secure_agg.protocol.messages import (
    ADVERTISE,
    CONSISTENCY,
    Message,
    Opening,
    Statement,
    decode,
    encode,
    header_limit,
)


@dataclass
class _Party:
    """What is known of one aggregator."""

    number: int
    accepted: frozenset[str] = frozenset()
    reveal: Message | None = field(default=None, repr=False)
    partial_sum: Vector | None = field(default=None, repr=False)


class AdditiveCoordinator(AggregatorSide):
    """Relays. Whatever an aggregator answers is checked against what it has bound itself to before."""

    def __init__(self, config: RoundConfig, scheme: Scheme, aggregators: AggregatorSet, setup: bytes) -> None:
        self._config, self._scheme, self._aggregators, self._setup = config, scheme, aggregators, setup
        self._limit = header_limit(config.cohort_size)
        self._parties = {name: _Party(number) for number, name in enumerate(aggregators.names)}
        self._session: Session | None = None
        self._statement: Statement | None = None
        self._survivors: tuple[str, ...] = ()
        self._fit = False
        self.operators = aggregators.names
        self.faults: list[FaultProof] = []

    def needed(self, phase: str) -> int:
        """Before the set is signed enough to sign it, afterwards to rebuild the sum."""
        signing = self._statement is None or phase == CONSISTENCY
        return rules.signatures(self._scheme) if signing else self._scheme.threshold

    def begin(self, session: Session) -> None:
        """Everybody who has advertised."""
        self._session = session

    def take(self, phase: str, said: Said) -> None:
        """Take what a client advertises; or what one aggregator says, once it is seen to be true."""
        name, message = said.name, said.message
        if phase == ADVERTISE:
            self._take_hashes(name, said.part)
        elif phase == rules.COLLECT:
            self._take_collected(name, message)
        elif phase == rules.REVEAL:
            self._take_reveal(name, message)
        else:
            self._take_partial_sum(name, message)

    def _take_hashes(self, name: str, part: bytes) -> None:
        """Hashes of the shares' commitments, one for each aggregator, and one of the client's own."""
        if len(part) != rules.hashes_bytes(self._config, self._scheme):
            raise MalformedMessage("an advertisement has a hash for each aggregator", phase=ADVERTISE, culprit=name)
        rules.check_base(self._aggregators.bases, self._config, name, part)

    # --- aggregators ----------------------------------------------------------------------------------------

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """All that has been revealed, in phase partial-sum."""
        if phase != rules.PARTIAL_SUM:
            return b"", b""
        shown = self._revealed()
        if not self._fit:
            self._check_fit()
            self._fit = True
        items = [Reveal(number, self._nonces(message)) for number, message in shown]
        return encode(Reveals(tuple(items))), b"".join(message.bulk for _, message in shown)

    def _revealed(self) -> list[tuple[int, Message]]:
        return [(party.number, party.reveal) for party in self._parties.values() if party.reveal is not None]

    def _check_fit(self) -> None:
        """Every client's shares have to fit together before any sum is asked for."""
        parties = [number for number, _ in self._revealed()]
        for opening in self._openings():
            try:
                openings.combine(self._joined(), self._scheme, opening.name, parties, opening.commitment)
            except BadCommitment as error:
                item = self._joined().advertisements[opening.name]
                self.faults.append(
                    FaultProof(
                        kind=rules.BAD_SHARES,
                        culprit=opening.name,
                        public=self._joined().keys[opening.name],
                        config=self._config.to_bytes(),
                        setup=self._setup,
                        exhibits=(encode(item), opening.nonce, opening.commitment),
                    )
                )
                raise DealerFault(str(error.args[0]), phase=rules.REVEAL, culprit=opening.name) from error

    def _nonces(self, message: Message) -> bytes:
        return decode(Revealed, message.body, self._limit, phase=rules.REVEAL).nonces

    def _take_collected(self, name: str, message: Message) -> None:
        answer = decode(Collected, message.body, self._limit, phase=rules.COLLECT, culprit=name)
        sizes = [item.proof for item in answer.refused]
        if min(sizes, default=0) < 0 or sum(sizes) != len(message.bulk):
            raise MalformedMessage("proofs of another size than announced", phase=rules.COLLECT, culprit=name)
        for names in (answer.accepted, tuple(item.name for item in answer.refused)):
            if not is_id_order(names):
                raise MalformedMessage("clients are not in id order, each once", phase=rules.COLLECT, culprit=name)
        place = 0
        for item in answer.refused:
            self._take_proof(item.name, bytes(message.bulk[place : place + item.proof]))
            place += item.proof
        self._parties[name].accepted = frozenset(answer.accepted)

    def _take_proof(self, client: str, data: bytes) -> None:
        """Keep a proof that is one. A refusal without leaves the client out all the same: it can't be decided."""
        try:
            proof = FaultProof.from_bytes(data)
            # Whoever makes up a proof can sign its exhibits with a key of its own.
            named = (proof.culprit, proof.public, proof.config)
            if named != (client, self._joined().keys.get(client), self._config.to_bytes()):
                return
            faults.check(self._scheme, self._config, proof)
        except VerificationError:
            return
        self.faults.append(proof)

    def survivors(self) -> tuple[str, ...]:
        """Those whose shares all aggregators hold."""
        members = set(self._joined().members)
        for name in self.operators:
            members &= self._parties[name].accepted
        return tuple(in_id_order(members))

    def agree(self, survivors: tuple[str, ...]) -> None:
        """S has been fixed."""
        self._survivors = survivors
        agreement = rules.SignedByAggregators()
        self._statement = agreement.statement(self._joined(), dict.fromkeys(survivors, b""))

    def _take_reveal(self, name: str, message: Message) -> None:
        answer = decode(Revealed, message.body, self._limit, phase=rules.REVEAL, culprit=name)
        self._check_root(name, answer.root, rules.REVEAL)
        party = self._parties[name]
        try:
            with stamping(MalformedMessage, culprit=name):
                openings.check_revealed(self._joined(), self._survivors, party.number, answer.nonces, message.bulk)
        except BadCommitment as error:
            self._accuse(rules.BAD_REVEAL, name, message, hashes=self._joined().parts[error.culprit or ""])
            self._drop(name, rules.REVEAL, "revealed a commitment that is not what its client has signed")
            return
        party.reveal = message

    def _take_partial_sum(self, name: str, message: Message) -> None:
        answer = decode(PartialSum, message.body, self._limit, phase=rules.PARTIAL_SUM, culprit=name)
        self._check_root(name, answer.root, rules.PARTIAL_SUM)
        try:
            vector = shares.read_vector(self._config, message.bulk)
        except ValueError as error:
            raise MalformedMessage(f"no partial sum: {error}", phase=rules.PARTIAL_SUM, culprit=name) from error
        party = self._parties[name]
        if party.reveal is None:
            raise LocalProtocolError("a partial sum of an aggregator that has revealed nothing")
        if rules.linear_hash(self._config, vector) != faults.sum_of(self._config, party.reveal.bulk):
            self._accuse(rules.BAD_PARTIAL_SUM, name, party.reveal, message)
            self._drop(name, rules.PARTIAL_SUM, "gave a partial sum that is not that of the shares it vouched for")
            return
        party.partial_sum = vector

    def _check_root(self, name: str, root: bytes, phase: str) -> None:
        if self._statement is None or root != rules.SignedByAggregators().root(self._statement):
            raise MalformedMessage("an answer is about another set than the signed one", phase=phase, culprit=name)

    def _accuse(self, kind: str, name: str, *messages: Message, hashes: bytes = b"") -> None:
        if self._statement is None:
            raise LocalProtocolError("nobody is accused before a set is signed")
        self.faults.append(
            faults.accuse(kind, self._config, self._setup, self._aggregators, name, self._statement, messages, hashes)
        )

    def _drop(self, name: str, phase: str, reason: str) -> None:
        """Go on without an aggregator that is proved wrong, if the sum can be rebuilt without it."""
        self._parties[name].reveal = self._parties[name].partial_sum = None
        self.operators = tuple(other for other in self.operators if other != name)
        if len(self.operators) < self._scheme.threshold:
            raise OperatorFault(f"{name!r} {reason}", phase=phase, culprit=name)

    def _joined(self) -> Session:
        if self._session is None:
            raise LocalProtocolError("the participants are not fixed")
        return self._session

    # --- result ---------------------------------------------------------------------------------------------

    def _openings(self) -> tuple[Opening, ...]:
        """Of each client the commitments of its shares, as far as they are revealed."""
        shown = self._revealed()
        nonces = {number: self._nonces(message) for number, message in shown}
        committed = b"".join(message.bulk for _, message in shown)
        return tuple(
            Opening(name, opened, encode(OpenedShares(tuple(sorted(nonces)), mine)))
            for name, opened, mine in openings.openings_of(self._config, self._survivors, nonces, committed)
        )

    def outcome(self) -> Outcome:
        """Rebuilt from the first partial sums that suffice: all of them fulfil their equations."""
        found = {p.number: p.partial_sum for p in self._parties.values() if p.partial_sum is not None}
        if len(found) < self._scheme.threshold:
            raise RoundAborted(
                f"{len(found)} partial sums, {self._scheme.threshold} are needed", phase=rules.PARTIAL_SUM
            )
        chosen = sorted(found)[: self._scheme.threshold]
        shared = weighted_sum([found[number] for number in chosen], self._scheme.weights(chosen))
        return Outcome(Committed(self._config).unload(shared, phase=rules.PARTIAL_SUM), self._openings())
