"""Role *key holder*: opens one sum for each round, after checking who is in it, and tells it only if it is right.

It holds the decryption key, apart from the aggregator; clients encrypt under the public half, which it has signed. A
key holder is a decryption oracle, so it speaks once for each (task, round), durably, and only after it has checked
everything public about the round: pins, signatures, openings, quorum. A holder of the whole key then decrypts, runs the
whole aggregate check itself, and on failure says no more than that; after ``MAX_FAILURES`` of them, whoever has caused
them, it never uses the key again. A member of a threshold key sees no sum: it recomputes what it is asked to open from
the clients' ciphertexts, which their commitment hashes bind.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import ClassVar, Final

from mpc.ring import byte_view
from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.backends.contract import Backend, Hidden, Opener
from secure_agg.errors import (
    AlreadyReleased,
    ConfigError,
    PolicyViolation,
    RemoteProtocolError,
    VerificationError,
    WrongContext,
    stamping,
)
from secure_agg.protocol.certificate import KeyCertificate, setup_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import DECRYPT, Opened, OpeningRequest, RenouncedOpeningRequest
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Message, Received, encode, public_limit, read, write
from secure_agg.protocol.refusal import refusing
from secure_agg.protocol.renunciation import RENOUNCE, RenunciationCertificate
from secure_agg.protocol.session import Participants
from secure_agg.roles.auditor import check_sum
from secure_agg.roles.memory.seats import SeatBonds, kept_answer
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.participants import check_participants
from secure_agg.roles.renouncing import renounce_as_operator
from secure_agg.roles.stopwatch import Stopwatch
from secure_agg.roles.trust import Trust
from zk.transcript import digest

MAX_FAILURES: Final = 8
"""Sums that may fail their check under one key. Each failure is one bit of an answer from a decryption oracle, and any
one client can cause one: the first must not end a task, and many must not add up to the key.
"""
_FAILURES: Final = tuple(f"failed sum {number}" for number in range(1, MAX_FAILURES + 1))


@checked_class
class KeyHolder:
    """One key holder, for any number of rounds of the tasks it has certified its key for."""

    role: ClassVar[str] = "keyholder"

    def __init__(
        self,
        identity: Identity,
        trust: Trust,
        opener: Opener,
        certificate: KeyCertificate,
        *,
        store: AttemptStore | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            identity: pinned by everybody as an operator.
            trust: what this key holder has pinned.
            opener: its secret.
            certificate: for its key, with the signatures of all who hold a part of it.
            store: durable, and the same after a restart: without it a restarted holder would open a round twice.
            clock: seconds; for ``timings``.
        """
        self.identity = identity
        self.trust = trust
        self.timings = Stopwatch(clock)
        if certificate.public != opener.public:
            raise ConfigError("the certificate is for another key than this holder's")
        self._opener = opener
        self.certificate = certificate
        self._store = store if store is not None else AttemptStore()

    def __repr__(self) -> str:
        return f"KeyHolder({self.identity.name!r})"

    def receive(self, request: bytes, *, beacon: bytes | None = None) -> bytes:
        """Answer a request to open a round's sum.

        Raises:
            TrustError: the round contradicts what this holder has pinned.
            RemoteProtocolError, TooFewClients: the request is malformed, or its set was not agreed by a quorum.
            AlreadyReleased: it has answered for this round before, or the key is retired.
        """
        limit = public_limit(len(self.trust.task(self.certificate.task).roster))
        received = Received.of(request, limit)
        header = received.header
        if header.phase == RENOUNCE:
            return renounce_as_operator(self.identity, self.trust, self._store, received, beacon=beacon)[1]
        message = read(
            received,
            limit=limit,
            bulk_sizes=None,
            session=header.session,
            phase=DECRYPT,
            recipients=(self.identity.name,),
            keys={name: key for name, key in self.trust.operators.items() if name != self.identity.name},
        )
        with stamping(RemoteProtocolError, phase=DECRYPT, culprit=header.sender), self.timings(DECRYPT):
            return self._answer(message, beacon)

    def _answer(self, message: Message, beacon: bytes | None) -> bytes:
        sender = message.header.sender
        with refusing(DECRYPT, sender):
            asked, config = OpeningRequest.read(message.body)
            self.trust.check(config, beacon)
            participants = check_participants(
                config, asked.cohort, asked.advertisements, asked.openings, asked.agreement
            )
            if participants.session.sid != message.header.session:
                raise WrongContext("the request is bound to another session", phase=DECRYPT, culprit=sender)
            bonds = SeatBonds(self._store, self.identity.name, config)
            if isinstance(asked, RenouncedOpeningRequest):
                cohort = Roster({member.name: member.public for member in asked.cohort})
                setup = self.certificate.to_bytes()
                renouncers = self._backend(config).renouncers(config, cohort, setup, self.trust.operators)
                certificate = RenunciationCertificate.from_bytes(asked.renounced)
                bonds.admit(certificate, renouncers, checked=self.trust.has_checked(certificate, config.task))
            wanted = digest(
                "opening",
                participants.session.sid,
                participants.root,
                _opened(asked),
                asked.backend,
                message.header.bulk_digest,
            )
            self._check_task(config)
            if (kept := kept_answer(self._store, self.identity.name, config.task, wanted)) is not None:
                bonds.open(wanted, phase=DECRYPT)
                return kept
            self._check_key(config)
            self._opener.check(participants, asked.backend, message.bulk)
        # Durable before anything is decrypted, and of the round, not of the attempt: two openings of overlapping sets
        # would show the difference between them. What is answered is kept before it is sent, and given again to whoever
        # asks for the same.
        bonds.open(wanted, phase=DECRYPT)
        body, bulk = self._open(config, participants, asked.backend, message.bulk)
        answer = write(self.identity, participants.session.sid, DECRYPT, sender, body, bulk)
        bonds.keep(wanted, answer)
        return answer

    @staticmethod
    def _backend(config: RoundConfig) -> Backend:
        return backends.load(config.policy.backend)

    def _check_task(self, config: RoundConfig) -> None:
        ours = (self.certificate.backend, self.certificate.task, setup_digest(self.certificate.to_bytes()))
        if (config.policy.backend, config.task, config.setup) != ours:
            raise PolicyViolation("the round is for another encryption key, backend or task", phase=DECRYPT)

    def _check_key(self, config: RoundConfig) -> None:
        # Noted at the key's first round: a holder may be started again with another certificate for the same key.
        if self._store.put(self._key_scope(), "task", config.task.encode()) != config.task.encode():
            raise PolicyViolation("this key serves another task", phase=DECRYPT)
        if self.failures >= MAX_FAILURES or self._store.get(self._key_scope(), "retired") is not None:
            raise self._retired()

    def _open(
        self, config: RoundConfig, participants: Participants, request: bytes, hidden: memoryview
    ) -> tuple[bytes, Hidden]:
        """A share of the decryption, or the sum if it is what was committed to; otherwise one bit, which is counted.

        Whatever goes wrong from here on depends on what was decrypted, so it must not show in the answer. It counts as
        a failure before it is decrypted, and no longer once it has passed: an unforeseen failure, or the process' end,
        is as much an answer as a foreseen one.
        """
        counted = self._count_failure()
        try:
            answer = self._opener.open(participants, request, hidden)
            if answer.sums is not None:
                check_sum(config, participants, answer.sums)
        except (VerificationError, RemoteProtocolError):
            return encode(Opened(False)), b""
        self._store.forget(self._key_scope(), counted)
        if answer.sums is None:
            return answer.body, answer.bulk
        return encode(Opened(True)), byte_view(answer.sums)

    @property
    def failures(self) -> int:
        """Sums that have failed under this key, also in earlier processes."""
        return sum(self._store.get(self._key_scope(), name) is not None for name in _FAILURES)

    def _count_failure(self) -> str:
        for name in _FAILURES:
            with contextlib.suppress(AlreadyReleased):
                self._store.claim(self._key_scope(), name, phase=DECRYPT)
                return name
        raise self._retired()

    @staticmethod
    def _retired() -> AlreadyReleased:
        return AlreadyReleased(
            f"this key was retired after {MAX_FAILURES} sums that failed their check: certify a fresh one",
            phase=DECRYPT,
        )

    def _key_scope(self) -> tuple[str, str]:
        return (self.identity.name, digest("key", self._opener.public).hex())


def _opened(asked: OpeningRequest) -> bytes:
    """Digest of the openings in a request, which say who is summed."""
    return digest("openings", *(encode(opening) for opening in asked.openings))
