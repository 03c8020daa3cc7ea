"""What an operator's earlier answers forbid it: a key holder's, or a share holder's, in one round of one task.

An operator opens one sum for each round and generation, or renounces that, and never both. A round's number stands for
one model here: who has answered for it once answers for no other.
"""

from __future__ import annotations

from typing import Final

from secure_agg.errors import AlreadyReleased, PolicyViolation
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.renunciation import RENOUNCE, Renouncers, Renunciation, RenunciationCertificate
from secure_agg.roles.memory.store import AttemptStore, Scope
from zk.transcript import digest

_PIECE: Final = 1 << 26
_OPENED: Final = "the sum"


class SeatBonds:
    """One operator's bonds in one round, on its durable store."""

    def __init__(self, store: AttemptStore, operator: str, config: RoundConfig) -> None:
        self._store, self._config = store, config
        self._scope: Scope = (operator, config.task, config.round)
        self._answers: Scope = (operator, config.task, "answers")
        self._model = digest("model", config.start_model, config.base_model)

    @property
    def scope(self) -> Scope:
        """Of what else an operator binds itself to in this round and generation."""
        return (*self._scope, "generation", self._config.generation) if self._config.generation else self._scope

    def _name(self, what: str, later: int = 0) -> str:
        generation = self._config.generation + later
        return f"{what} generation {generation}" if generation else what

    @property
    def _ours(self) -> str:
        """What answers in this generation of this round are kept under."""
        return f"{self._config.round} {self._config.generation} "

    def check_open(self, *, phase: str) -> None:
        """Refuse a generation that is renounced, over, or not begun for this operator.

        Raises:
            AlreadyReleased: as it says.
        """
        for name, said in self._over().items():
            if self._store.get(self._scope, name) is not None:
                raise AlreadyReleased(said, phase=phase)
        if self._config.generation and self._store.get(self._scope, self._name("admitted")) != self._config.renounced:
            raise AlreadyReleased("no certificate has admitted this operator to this generation", phase=phase)

    def _over(self) -> dict[str, str]:
        return {
            self._name("renounced"): "this operator has renounced this generation of the round",
            self._name("admitted", 1): "this generation of the round is over: a later one has begun",
        }

    def open(self, what: bytes, *, phase: str) -> None:
        """Bind to the one thing that is opened, before it is. The same again is harmless.

        Raises:
            AlreadyReleased: another was, or this operator has renounced.
        """
        self.check_open(phase=phase)
        values = {self._name(_OPENED): what, "model": self._model}
        try:
            self._store.bind(self._scope, values, unless=self._over(), phase=phase)
        except AlreadyReleased as error:
            raise AlreadyReleased(
                f"{_OPENED} of this round was given out before, or it was renounced: {error.args[0]}", phase=phase
            ) from error

    def renounce(self, successor: bytes = b"") -> Renunciation:
        """Give up the right to open a sum in this generation.

        Raises:
            AlreadyReleased: it was used, also for a sum that failed its check; or the generation is over.
        """
        later = {self._name("admitted", 1): "this generation of the round is over: a later one has begun"}
        used = {self._name(_OPENED): "this operator has opened a sum of this round: it renounces nothing"}
        if self._config.generation and self._store.get(self._scope, self._name("admitted")) != self._config.renounced:
            raise AlreadyReleased("no certificate has admitted this operator to this generation", phase=RENOUNCE)
        values = {self._name("renounced"): b"1", "model": self._model}
        self._store.bind(self._scope, values, unless=used | later, phase=RENOUNCE)
        if said := self._store.names(self._answers, self._ours):
            self._store.forget(self._answers, *said)
        return Renunciation.of(self._config, successor)

    def admit(self, certificate: RenunciationCertificate, renouncers: Renouncers, *, checked: bool = False) -> None:
        """Go on to this generation, once the certificate before it is checked; durably.

        Args:
            certificate: of the generation before, which the configuration names.
            renouncers: of that.
            checked: it closed the epoch before, whose members' signatures were checked when this one was followed.

        Raises:
            VerificationError, TooFewClients: see ``RenunciationCertificate.check_precedes``.
            PolicyViolation: this round's number stands for another model here.
        """
        certificate.check_statement(self._config)
        if not checked:
            certificate.check(renouncers)
        if self._store.get(self._scope, "model") not in (None, self._model):
            raise PolicyViolation("this round's number stands for another model here", phase=RENOUNCE)
        values = {self._name("admitted"): certificate.digest(), "model": self._model}
        self._store.bind(self._scope, values, unless={}, phase=RENOUNCE)

    # --- answers --------------------------------------------------------------------------------------------

    def keep(self, request: bytes, answer: bytes) -> None:
        """Keep an answer before it is sent, to be sent again. Those of other rounds of the task are over and go.

        Args:
            request: digest of what it answers.
        """
        ours, names = self._ours, self._store.names(self._answers, "")
        if old := [name for name in names if not name.startswith(ours)]:
            self._store.forget(self._answers, *old)
        count = -(-len(answer) // _PIECE)
        for piece in range(count):
            part = answer[piece * _PIECE : (piece + 1) * _PIECE]
            self._store.put(self._answers, f"{ours}{request.hex()} {piece}", part)
        self._store.put(self._answers, f"{ours}{request.hex()} whole", count.to_bytes(4, "little"))


def kept_answer(store: AttemptStore, operator: str, task: str, request: bytes) -> bytes | None:
    """The answer that an operator has kept to a request, by its digest; None if there is none, or not all of it."""
    scope: Scope = (operator, task, "answers")
    for name in store.names(scope, ""):
        beginning, _, end = name.rpartition(" ")
        if end == "whole" and beginning.endswith(f" {request.hex()}"):
            count = int.from_bytes(store.get(scope, name) or b"", "little")
            return b"".join(store.get(scope, f"{beginning} {piece}") or b"" for piece in range(count))
    return None
