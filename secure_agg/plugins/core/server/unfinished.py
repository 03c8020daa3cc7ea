"""What a server keeps of rounds that came to nothing after their clients were bound to them: the aggregator's log of
each attempt, and the certificates that let the task go on from the same model.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from secure_agg.errors import OperatorLost, SecureAggError, StoreError
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.phases import Ask, Payload, one_line
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.memory.rounds import RoundLog
from secure_agg.roles.memory.store import Scope
from secure_agg.roles.operators import OperatorRole, ask_operator
from secure_agg.roles.renouncing import Renouncing
from secure_agg.roles.task import Task
from zk.transcript import digest

_log = logging.getLogger("secure_agg.plugins")

_FOLDER: Final = "rounds"


class Unfinished:
    """Of one task of a server's home."""

    def __init__(self, home: ServerHome, task: str) -> None:
        self._home, self._task = home, task
        self._folder = home.path / _FOLDER
        self._prefix = digest("unfinished", task.encode()).hex()[:16]
        self._scope: Scope = (home.name, task, "renounced")

    def log(self, config: RoundConfig) -> RoundLog:
        """A log for a new attempt.

        Raises:
            StoreError: it can't be written.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder} can't be made: {error.strerror}") from error
        return RoundLog(self._folder / f"{self._prefix}-{config.round}-{config.generation}-{config.attempt}.db")

    def find(self, base_model: bytes, executor: Executor = IN_PROCESS) -> tuple[RoundLog, Aggregator] | None:
        """The last attempt over updates of this model that clients may be bound to, where it has come to, and its log.
        Attempts that bind nobody are begun anew: nothing is lost with them.
        """
        for path in sorted(self._paths(), key=_place, reverse=True):
            try:
                log = RoundLog(path)
                begun = log.begun()
                config = RoundConfig.from_bytes(begun.config) if begun else None
                if config is None or (config.base_model == base_model and not self._is_over(config)):
                    aggregator = Aggregator.resume(self._home.identity, log, executor=executor)
                    if aggregator.is_binding:
                        return log, aggregator
                    log.remove()
                log.close()
            except SecureAggError as error:
                _log.warning("%s is no log of a round that can be finished: %s", path, error)
        return None

    def _is_over(self, config: RoundConfig) -> bool:
        found = self.certificate(config)
        return found is not None and found.statement.generation >= config.generation

    def _paths(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from self._folder.glob(f"{self._prefix}-*-*-*.db")

    def mark_opened(self, config: RoundConfig) -> None:
        """Note that a sum over updates of a round's model was opened, and is none: it can be neither finished nor
        renounced.
        """
        self._home.store.put(self._scope, f"opened {config.base_model.hex()} {config.start_model.hex()}", b"1")

    def is_opened(self, config: RoundConfig) -> bool:
        """Whether that is so."""
        name = f"opened {config.base_model.hex()} {config.start_model.hex()}"
        return self._home.store.get(self._scope, name) is not None

    def clear(self) -> None:
        """A round of the task is in the ledger: no other of its logs is of use any more."""
        for path in list(self._paths()):
            with contextlib.suppress(SecureAggError, OSError):
                RoundLog(path).remove()

    def keep(self, certificate: RenunciationCertificate) -> None:
        """Keep a certificate, durably."""
        said = certificate.statement
        name = f"{said.base_model.hex()} {said.start_model.hex()} {said.round}.{said.draw} {said.generation:010d}"
        self._home.store.put(self._scope, name, certificate.to_bytes())

    def certificate(self, config: RoundConfig) -> RenunciationCertificate | None:
        """The last certificate for updates of a round's model in its draw; None in a first generation."""
        return self.newest(config.base_model, config.start_model, config.round, config.draw)

    def newest(self, base_model: bytes, start_model: bytes, round: int, draw: int) -> RenunciationCertificate | None:
        """The same, by what it is of."""
        beginning = f"{base_model.hex()} {start_model.hex()} {round}.{draw} "
        names = self._home.store.names(self._scope, beginning)
        if not names:
            return None
        return RenunciationCertificate.from_bytes(self._home.store.get(self._scope, names[-1]) or b"")

    def before(self, leading: Task, config: RoundConfig) -> RenunciationCertificate | None:
        """What a round's configuration goes on from: a renunciation, or the closing of the epoch before."""
        if not config.generation:
            return None
        found = self.certificate(config)
        if found is not None and found.digest() == config.renounced:
            return found
        return RenunciationCertificate.from_bytes(leading.closure) if leading.closure else None

    def renounce(self, leading: Task, config: RoundConfig, ask: Ask, limit_s: float) -> bool:
        """Have the generation of a round renounced, so that the next attempt can be over updates of the same model.

        Args:
            leading: the task, under the epoch in force.
            config: of the round.
            ask: reaches nodes.
            limit_s: within which they answer.

        Returns:
            Whether enough have.
        """
        trust = self._home.trust
        before = self.before(leading, config)
        signed, needed = 0, 0
        try:
            with self._home.staff(replace(config, setup=b"")) as (served, setup, holders):
                asking = Renouncing(
                    self._home.identity,
                    served,
                    trust.cohort(config.task, config.beacon),
                    trust.operators,
                    setup=setup,
                    renounced=before.to_bytes() if before else b"",
                )
                needed = asking.renouncers.threshold
                for name, answer in _asked(asking, holders, ask, limit_s):
                    try:
                        if isinstance(answer, Exception):
                            raise answer
                        asking.receive(answer)
                    except Exception as error:
                        _log.warning("%s does not renounce: %s", name, one_line(error))
                signed = len(asking.signed)
                self.keep(asking.certificate())
        except SecureAggError as error:
            _log.warning(
                "round %d of %r: %d have renounced, %d are needed (%s): it is finished once enough release late, or "
                "renounced once enough of those do that have released nothing",
                config.round, config.task, signed, needed, one_line(error),
            )  # fmt: skip
            return False
        return True


def _asked(
    asking: Renouncing, holders: Mapping[str, OperatorRole], ask: Ask, limit_s: float
) -> Iterator[tuple[str, bytes | Exception]]:
    """What those have to say who are asked to renounce, operators or nodes."""
    requests = asking.requests()
    if asking.renouncers.operators:
        for request in requests:
            given = ask_operator(holders, request)
            yield request.recipient, given if given is not None else OperatorLost("it is gone")
        return

    def payload(data: bytes) -> Payload:
        return Payload(lambda: Parcel(parcels.RENOUNCE, (data,)).to_bytes())

    sent = [(request.recipient, payload(request.data)) for request in requests]
    for name, answer in ask(parcels.RENOUNCE, sent, limit_s):
        if isinstance(answer, Exception):
            yield name, answer
            continue
        try:
            (said,) = Parcel.from_bytes(answer).expect(parcels.ANSWER, 1)
        except SecureAggError as error:
            yield name, error
        else:
            yield name, bytes(said)


def _place(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.stem.split("-")[1:])
