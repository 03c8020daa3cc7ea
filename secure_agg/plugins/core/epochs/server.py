"""The server's side: a proposal that lies in its home is closed by the nodes, and everybody is shown what follows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from secure_agg.errors import MalformedMessage, SecureAggError
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.phases import Ask, Payload, one_line
from secure_agg.plugins.core.server.unfinished import Unfinished
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch import EpochEvidence, EpochRecord
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Signature, decode, encode
from secure_agg.protocol.renunciation import Renouncers, RenunciationCertificate, check_renounced
from secure_agg.roles.epochs.checking import check_goes_on, check_ready, ends
from secure_agg.roles.epochs.following import MAX_STEP_ANSWER, Steps, Where
from secure_agg.roles.epochs.pins import closing, under
from secure_agg.roles.trust import Trust

_log = logging.getLogger("secure_agg.plugins")

_MAX_SIGNATURE = 1 << 10


def trust_at(home: ServerHome, number: int) -> Trust:
    """What was in force in an epoch of a server's ledger."""
    ledger = home.ledger
    trust, found = ledger.trust, ledger.epochs(home.task)
    return under(trust, ledger.epoch(found[number - 1])[1]) if number else trust


class Epochs:
    """Of one server's task."""

    def __init__(self, home: ServerHome) -> None:
        self._home = home
        self._where: dict[str, Where] = {}

    def rosters(self) -> Iterator[Roster]:
        """Members by epoch, newest first: who has not heard of the last one answers under the key of an earlier."""
        ledger, task = self._home.ledger, self._home.task
        trust = ledger.trust
        for index in reversed(ledger.epochs(task)):
            yield under(trust, ledger.epoch(index)[1]).task(task).roster
        yield trust.task(task).roster

    def trust_at(self, number: int) -> Trust:
        """What was in force in an epoch of the ledger."""
        return trust_at(self._home, number)

    def close(self, ask: Ask, base_model: bytes, phase_s: Callable[[], float]) -> EpochRecord | None:
        """Have the members close the epoch in force, where the next one lies ready; it is in force then.

        Args:
            ask: reaches the nodes.
            base_model: digest of the model that the task has come to.
            phase_s: how long nodes have to answer.

        Returns:
            The new epoch's record; None where there is none, or too few have closed: the old one goes on, without those
            who have.
        """
        home, trust = self._home, self._home.trust
        try:
            proposal = home.proposal()
            if proposal is None:
                return None
            if proposal.says.task == home.task and proposal.says.epoch <= trust.task(home.task).epoch:
                # It has begun: this process, or the one before, has ended between its record and the file's removal,
                # or somebody has laid it here again.
                home.proposal_path.unlink(missing_ok=True)
                return None
            check_ready(trust, proposal)
            check_goes_on(trust, proposal.says, self._generation(base_model))
        except SecureAggError as error:
            _log.error("the proposal in %s changes nothing: %s", home.proposal_path, one_line(error))
            return None
        body = proposal.says
        voters, least = closing(trust, home.task)
        if voters:
            statement = replace(
                ends(trust, body, home.ledger.newest(home.task), base_model), generation=self._generation(base_model)
            )
            renouncers = Renouncers(voters, least)
            found: dict[str, Signature] = {}
            parts = (proposal.to_bytes(), encode(statement))
            requests = [(name, Payload(lambda: Parcel(parcels.CLOSE, parts).to_bytes())) for name in voters]
            for name, answer in ask(parcels.CLOSE, requests, phase_s()):
                try:
                    if isinstance(answer, Exception):
                        raise answer
                    (signed,) = Parcel.from_bytes(answer).expect(parcels.CLOSED, 1)
                    signature = decode(Signature, signed, _MAX_SIGNATURE, culprit=name)
                    if signature.name != name:
                        raise MalformedMessage(f"a signature of {signature.name!r}", culprit=name)
                    check_renounced(renouncers, statement.signed_bytes, signature)
                except Exception as error:
                    _log.warning("%s has not closed epoch %d: %s", name, body.epoch - 1, one_line(error))
                else:
                    found[name] = signature
            if len(found) < least:
                _log.error(
                    "epoch %d of %r goes on: %d of %d nodes have closed it, %d are needed",
                    body.epoch - 1, home.task, len(found), len(voters), least,
                )  # fmt: skip
                return None
            certificate = RenunciationCertificate.of(statement, found.values())
            proposal = EpochEvidence(
                body=proposal.body,
                authorisations=proposal.authorisations,
                acceptances=proposal.acceptances,
                closure=certificate.to_bytes(),
            )
        receipt = home.ledger.append_epoch(proposal)
        home.proposal_path.unlink(missing_ok=True)
        record, _ = home.ledger.epoch(receipt.index)
        _log.info("epoch %d of %r begins, with %d members", body.epoch, home.task, len(body.roster))
        return record

    def _generation(self, base_model: bytes) -> int:
        """The one that updates of the model that the task has come to are in."""
        home = self._home
        newest, closure = home.ledger.newest(home.task), home.ledger.closure(home.task)
        number = newest.round + 1 if newest else 0
        start = newest.result_model if newest else NO_DIGEST
        begun = RenunciationCertificate.from_bytes(closure).statement.generation + 1 if closure else 0
        renounced = Unfinished(home, home.task).newest(base_model, start, number, 0)
        return max(begun, renounced.statement.generation + 1 if renounced else 0)

    def bring(self, ask: Ask, names: Sequence[str], phase_s: Callable[[], float]) -> None:
        """Have nodes that were away follow to the epoch in force: each every one that it has missed."""
        ledger, task = self._home.ledger, self._home.task
        number = len(ledger.epochs(task))
        behind = [name for name in names if (known := self._where.get(name)) is None or known.epoch < number]
        if not number or not behind:
            return
        nothing = Parcel(parcels.EPOCH, ()).to_bytes()
        self._hear(ask, [(name, Payload(lambda: nothing)) for name in behind], phase_s)

        due = dict.fromkeys(behind, 0)
        while True:  # whoever has followed all that it was sent, and is not there yet, is sent more
            late = {
                name: ledger.steps(task, known.epoch, known.seen or None, MAX_STEP_ANSWER)
                for name, least in due.items()
                if (known := self._where.get(name)) is not None and least <= known.epoch < number
            }
            if not late:
                return
            due = {name: self._where[name].epoch + len(steps.steps) for name, steps in late.items()}
            self._hear(ask, [(name, _shown(steps)) for name, steps in late.items()], phase_s)

    def _hear(self, ask: Ask, requests: Sequence[tuple[str, Payload]], phase_s: Callable[[], float]) -> None:
        for name, answer in ask(parcels.EPOCH, requests, phase_s()):
            try:
                if isinstance(answer, Exception):
                    raise answer
                (said,) = Parcel.from_bytes(answer).expect(parcels.EPOCHS, 1)
                self._where[name] = Where.from_bytes(said)
            except Exception as error:
                _log.warning("%s does not follow the task's epochs: %s", name, one_line(error))


def _shown(steps: Steps) -> Payload:
    return Payload(lambda: Parcel(parcels.EPOCH, (steps.to_bytes(),)).to_bytes())
