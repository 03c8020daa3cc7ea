"""Renouncing a generation of a round: asking for it, answering, and putting the certificate together.

It belongs to no attempt. Who is asked checks the configuration like that of a round it is to join, and gives up, in its
durable store, what it may still do in that generation, before it signs. Whoever has released something refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from secure_agg import backends
from secure_agg.errors import PolicyViolation, VerificationError, WrongContext
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.tree import FLAT, level
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import (
    MAX_ADVERTISEMENT,
    MAX_CONFIG,
    MAX_SETUP,
    NO_BULK,
    Envelope,
    Incoming,
    Received,
    Signature,
    decode,
    encode,
    read,
    write,
)
from secure_agg.protocol.renunciation import (
    RENOUNCE,
    RenounceRequest,
    Renouncers,
    Renunciation,
    RenunciationCertificate,
    check_renounced,
    first_bulk,
    split_first,
)
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.memory.seats import SeatBonds
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust

_LIMIT = MAX_CONFIG + MAX_ADVERTISEMENT


class Renouncing:
    """An aggregator's attempt to have a generation renounced."""

    def __init__(
        self,
        identity: Identity,
        config: RoundConfig,
        cohort: Roster,
        operators: Roster,
        *,
        setup: bytes = b"",
        renounced: bytes = b"",
        successor: bytes = b"",
    ) -> None:
        """
        Args:
            config: of any attempt in that generation.
            cohort, operators, setup, renounced: see ``Aggregator``.
            successor: see ``Renunciation``.
        """
        self._identity, self._config = identity, config
        self._setup, self._renounced, self._successor = setup, renounced, successor
        self.statement = Renunciation.of(config, successor)
        backend = backends.load(config.policy.backend)
        self.renouncers: Renouncers = backend.renouncers(config, cohort, setup, operators)
        self._signatures: dict[str, Signature] = {}

    def requests(self) -> Sequence[Envelope]:
        """To whoever may renounce and has not signed yet."""
        body = encode(RenounceRequest(self._config.to_bytes(), self._successor))
        bulk = first_bulk(self._config, self._setup, self._renounced)
        return [
            Envelope(name, write(self._identity, self._config.context, RENOUNCE, name, body, bulk))
            for name in self.renouncers.voters
            if name not in self._signatures
        ]

    def receive(self, data: Incoming) -> None:
        """Take one answer.

        Raises:
            RemoteProtocolError, VerificationError: it is refused.
        """
        received = Received.of(data, _LIMIT)
        message = read(
            received,
            limit=_LIMIT,
            bulk_sizes=NO_BULK,
            session=self._config.context,
            phase=RENOUNCE,
            recipients=(self._identity.name,),
            keys=dict(self.renouncers.voters),
        )
        name = message.header.sender
        signature = decode(Signature, message.body, MAX_ADVERTISEMENT, phase=RENOUNCE, culprit=name)
        if signature.name != name:
            raise VerificationError("a signature of somebody else", phase=RENOUNCE, culprit=name)
        check_renounced(self.renouncers, self.statement.signed_bytes, signature)
        self._signatures[name] = signature

    @property
    def signed(self) -> frozenset[str]:
        """Who has."""
        return frozenset(self._signatures)

    def certificate(self) -> RenunciationCertificate:
        """Of those who have signed.

        Raises:
            TooFewClients: they are not enough, or can't be: where one of those has released something, or is gone for
                good, and all are needed, the round is finished by the same answers or never.
        """
        found = RenunciationCertificate.of(self.statement, self._signatures.values())
        found.check(self.renouncers)
        return found


def read_request(
    request: Incoming, identity: Identity, trust: Trust, beacon: bytes | None = None
) -> tuple[str, RoundConfig, bytes, bytes, bytes]:
    """Decode a request to renounce and compare it with what is pinned.

    Returns:
        Who asks; the configuration; setup; the certificate before; the successor.

    Raises:
        RemoteProtocolError: it is malformed, not signed by a pinned operator, or not for this party.
        TrustError: the configuration contradicts a pin.
    """
    received = Received.of(request, _LIMIT)
    header = received.header
    message = read(
        received,
        limit=_LIMIT,
        bulk_sizes=MAX_SETUP,
        session=header.session,
        phase=RENOUNCE,
        recipients=(identity.name,),
        keys={name: key for name, key in trust.operators.items() if name != identity.name},
    )
    body = decode(RenounceRequest, message.body, _LIMIT, phase=RENOUNCE, culprit=header.sender)
    config = decode(RoundConfig, body.config, MAX_CONFIG, phase=RENOUNCE, culprit=header.sender)
    if header.session != config.context:
        raise WrongContext("the request is not bound to the configuration it carries", phase=RENOUNCE)
    trust.check(config, beacon)
    if level(config.policy) != FLAT:
        raise PolicyViolation("a tree's rounds have no later generation", phase=RENOUNCE, culprit=header.sender)
    setup, renounced = split_first(config, message.bulk)
    return header.sender, config, setup, renounced, body.successor


def renounce_as_client(
    identity: Identity, trust: Trust, store: AttemptStore, request: Incoming, *, beacon: bytes | None = None
) -> bytes:
    """A member's answer: it renounces, whether it has joined or not.

    Args:
        store: the client's own, which all its attempts are in.

    Raises:
        AlreadyReleased: it has released something of this generation: the round may still be finished by that.
        TaskSpent: it was not admitted to this generation, or has given its input of this model elsewhere.
        PolicyViolation: clients don't renounce with this backend, its operators do; or it is not in the cohort.
        RemoteProtocolError, TrustError: see ``read_request``.
    """
    asker, config, setup, renounced, successor = read_request(request, identity, trust, beacon)
    _check_no_successor(successor, asker)
    cohort = trust.cohort(config.task, config.beacon)
    renouncers = backends.load(config.policy.backend).renouncers(config, cohort, setup, trust.operators)
    if renouncers.operators or cohort.get(identity.name) != identity.public:
        raise PolicyViolation("this client has no say in whether a sum is opened", phase=RENOUNCE, culprit=asker)
    bonds = Bonds(store, identity.name, config, NO_DIGEST)
    if config.generation:
        certificate = RenunciationCertificate.from_bytes(renounced)
        bonds.admit(certificate, renouncers, checked=trust.has_checked(certificate, config.task))
    return _answer(identity, config, asker, bonds.renounce())


def renounce_as_operator(
    identity: Identity, trust: Trust, store: AttemptStore, request: Incoming, *, beacon: bytes | None = None
) -> tuple[RoundConfig, bytes]:
    """An operator's answer, with the configuration of what it has renounced.

    Raises:
        AlreadyReleased: it has opened a sum of this generation, or one that failed its check.
        PolicyViolation: it has no seat in the round.
        RemoteProtocolError, TrustError: see ``read_request``.
    """
    asker, config, setup, renounced, successor = read_request(request, identity, trust, beacon)
    _check_no_successor(successor, asker)
    backend = backends.load(config.policy.backend)
    others = Roster({name: key for name, key in trust.operators.items() if name != asker})
    backend.check_setup(config, setup, others)
    cohort = trust.cohort(config.task, config.beacon)
    renouncers = backend.renouncers(config, cohort, setup, trust.operators)
    if not renouncers.operators or renouncers.voters.get(identity.name) != identity.public:
        raise PolicyViolation("this operator has no seat in the round", phase=RENOUNCE, culprit=asker)
    bonds = SeatBonds(store, identity.name, config)
    if config.generation:
        certificate = RenunciationCertificate.from_bytes(renounced)
        bonds.admit(certificate, renouncers, checked=trust.has_checked(certificate, config.task))
    return config, _answer(identity, config, asker, bonds.renounce())


def _check_no_successor(successor: bytes, asker: str) -> None:
    """An epoch is closed by ``epochs.acts.close``, after its successor was authorised and looked at, not by this."""
    if successor:
        raise PolicyViolation(
            "a request to renounce names a successor: epochs are not closed by it", phase=RENOUNCE, culprit=asker
        )


def _answer(identity: Identity, config: RoundConfig, asker: str, statement: Renunciation) -> bytes:
    return write(identity, config.context, RENOUNCE, asker, encode(statement.sign(identity)))
