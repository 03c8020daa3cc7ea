"""A member's part in a task's rounds, in a few lines: it contributes, and gets a verified result.

    with secure_agg.connect("https://coordinator.example:8470", "home") as session:
        result = session.contribute(lambda model: train(model, mine), weight=len(mine))
        result.average, result.model, result.participants

What is believed comes from the home. The participant in it checks each request and every result, goes on where another
process was killed, and computes each model itself; this module only carries its payloads.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from secure_agg.arguments import checked
from secure_agg.errors import (
    AlreadyReleased,
    ConfigError,
    LocalProtocolError,
    MalformedMessage,
    OperatorLost,
    SecureAggError,
    TaskSpent,
    UpdateError,
)
from secure_agg.fl.layers import Floats
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.training import Trained, mean_of, metrics_of
from secure_agg.plugins.homes import tenants
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.proposals import approve
from secure_agg.protocol.codec import Arrays
from secure_agg.protocol.config import MAX_PARAMETERS, Policy
from secure_agg.protocol.config.settings import within
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.memory import spending
from secure_agg.service import bounds
from secure_agg.service.epochs.changes import Changes, Proposed
from secure_agg.service.link import PATIENCE_S, Arrived, Link
from secure_agg.service.wire import AnswerTooLong, decode_model, most_model_bytes
from secure_agg.tlog.receipt import Receipt

_PASSING: Final = (AlreadyReleased, TaskSpent, LocalProtocolError)
"""With what a member refuses what it is asked though neither side is at fault: another attempt, or the round that it is
bound to, may still come to an end.
"""

Update = Floats | Callable[[list[npt.NDArray[Any]]], Floats]
"""Differences from the model, or what computes them from it."""

_log = logging.getLogger("secure_agg.service")


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class RoundResult:
    """A round that this member has verified, against what is pinned in its home and the ledger.

    Attributes:
        round: its number.
        average: weighted mean of the participants' updates, float64.
        model: that the result leads to; empty where the home takes any model, and so computes none.
        weight: sum of the participants' weights.
        metrics: weighted means of the metrics that were contributed, by name; NaN where somebody's was not finite. One
            of this library's own, ``secure-agg-clipped``, says which part of the updates' values was cut off, where any
            was. Empty with privacy, and where this member has contributed nothing to the round.
        participants: ids, in id order.
        included: whether this member is one of them.
        record: of the ledger.
        evidence: what proves it, to anybody.
        receipt: of the ledger.
    """

    round: int
    average: Arrays
    model: list[npt.NDArray[Any]]
    weight: int
    metrics: dict[str, float]
    participants: tuple[str, ...]
    included: bool
    record: RoundRecord
    evidence: Evidence
    receipt: Receipt


@dataclass(frozen=True)
class _Work:
    """What a member contributes."""

    update: Update
    weight: int
    metrics: Mapping[str, float]
    about: Instructions | None

    def trained(self, model: Floats) -> Trained:
        """The update as a model that was trained.

        Raises:
            UpdateError: it is not of the model's shapes.
        """
        base = [np.array(array) for array in model]
        steps = self.update([array.copy() for array in base]) if callable(self.update) else self.update
        steps = [np.asarray(step) for step in steps]
        if [step.shape for step in steps] != [array.shape for array in base]:
            raise UpdateError(
                f"an update of shapes {[step.shape for step in steps]}, and the model's are "
                f"{[array.shape for array in base]}"
            )
        arrays = [(old.astype(np.float64) + step).astype(old.dtype) for old, step in zip(base, steps, strict=True)]
        return Trained(arrays, self.weight, self.metrics)


class Session:
    """One member, for as long as its process takes part. Not for several threads."""

    def __init__(
        self, home: ClientHome, link: Link, leave: Callable[[], None], max_parameters: int = bounds.UNSAID
    ) -> None:
        """Use ``connect``."""
        self._home, self._link, self._leave, self._max_parameters = home, link, leave, max_parameters
        self._participant = Participant(home, keeps_answers=True)
        self._told = 0
        self._given: bytes | None = None  # digest of the record that was returned last

    def __repr__(self) -> str:
        return f"Session({self._home.name!r}, task={self._home.task!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and leave the home to others; harmless when that was done."""
        self._link.close()
        self._home.close()
        self._leave()

    @property
    def name(self) -> str:
        """This member's id."""
        return self._home.name

    @property
    def policy(self) -> Policy:
        """That this member has pinned of the task's rounds."""
        return self._home.trust.task(self._home.task).policy

    @property
    def model(self) -> list[npt.NDArray[Any]]:
        """The model that this member has come to; empty before its first round, and where the home takes any model."""
        with self._home.locked():
            return self._home.chain.model() if self._home.checks_model and self._home.chain.link else []

    @property
    def members(self) -> tuple[str, ...]:
        """Ids of all members that this one has pinned."""
        return tuple(self._home.trust.task(self._home.task).roster)

    def check_budget(self) -> None:
        """Refuse, where rounds have differential privacy, what this member's budget is not enough for any more.

        Raises:
            BudgetSpent: another round would take it over.
        """
        home = self._home
        rule = self.policy.privacy
        if rule is not None:
            spending.check_left(home.store, home.name, home.task, rule)

    def contribute(
        self,
        update: Update,
        weight: int = 1,
        metrics: Mapping[str, float] | None = None,
        *,
        about: str = "",
        timeout: float | None = None,
    ) -> RoundResult:
        """Take part in the next round, and wait until its result is verified.

        A round that comes to nothing is tried again with the same ``update``. Where an earlier process has begun one
        with this home, that one is seen to its end first, with what was contributed to it then; its result is returned,
        unless it was about something else: then the next round's is. A home that takes any model takes no result of a
        round that it has not joined, or has seen to its end.

        Args:
            update: differences from the model, arrays of its shapes; or a function that is given the model, which was
                checked before, and returns them. It may be called again for another attempt.
            weight: how much they count, 1 to what the policy allows; nobody else learns of it.
            metrics: scalars of which everybody learns the weighted mean, 16 at most. Everybody has to give those of the
                same names: the sums know none.
            about: what this is a part of, where members have to agree on it and the model does not say: each tells the
                server its digest, a round is of what most have said, and its evidence names it. Only in homes that take
                any model, with differential privacy.
            timeout: seconds after which no more is waited; None waits for ever.

        Returns:
            The result, of a round that may have gone on without this member: see ``included``.

        Raises:
            ConfigError: no round of this home is about anything.
            UpdateError: update, weight or a metric is unfit; nothing was sent.
            WrongContext: the round is about something else.
            BudgetSpent: with privacy, nothing is left of this member's budget; ``update`` was not called.
            VerificationError, RemoteProtocolError: the server has said what does not fit to what is pinned.
            OperatorLost: the service does not answer; or no result has come within ``timeout``.
        """
        if about and (self._home.checks_model or self.policy.privacy is None):
            raise ConfigError("rounds are about something only in homes that take any model, with differential privacy")
        said = Instructions.of(about=about) if about else None
        work, ends = _Work(update, weight, dict(metrics or {}), said), _ends(timeout)
        self._link.until = ends
        while True:
            if time.monotonic() > ends:
                raise OperatorLost(f"no result has come within {timeout:g} s", culprit=None)
            try:
                with self._saying():
                    arrived = self._link.next(bounds.payload_bytes(self._home, self._participant, self._max_parameters))
            except OperatorLost:
                if timeout is None or time.monotonic() <= ends:
                    raise
                continue
            self._tell()
            if arrived is not None and (result := self._take(arrived, work)) is not None:
                self._given = result.record.digest()
                if said is None or result.evidence.config.instructions == said.digest:
                    return result
                _log.warning("round %d was about something that was asked before", result.round)

    def _tell(self) -> None:
        """Say once that there is something to look at, and again when there is more."""
        if self._link.waiting > self._told:
            _log.warning(
                "%d proposals for the next epoch of %r lie open: 'secure-agg federation status' with --url shows them",
                self._link.waiting, self._home.task,
            )  # fmt: skip
        self._told = self._link.waiting

    # --- epochs -----------------------------------------------------------------------------------------------

    def proposals(self) -> list[Proposed]:
        """What is proposed for the task's next epoch; look at ``changes`` of each.

        Raises:
            VerificationError, RemoteProtocolError: the server shows what does not fit to what is pinned.
            OperatorLost: the service does not answer.
        """
        return Changes(self._link, self._home).open()

    def propose(self, change: Change) -> Proposed:
        """Propose the next epoch. Nothing changes by that: owners approve it, this one too.

        Raises:
            ConfigError: the change can't be.
            VerificationError, RemoteProtocolError, OperatorLost: see ``proposals``.
        """
        return Changes(self._link, self._home).propose(change)

    def approve(self, proposed: Proposed) -> Proposed:
        """Approve a proposal as this member's owner, who has looked at it: one for each epoch, and no other.

        When enough have, members' nodes close the epoch in force before the next round, each by itself.

        Returns:
            The proposal with all signatures so far.

        Raises:
            AlreadyReleased: this owner has authorised another.
            VerificationError, RemoteProtocolError, OperatorLost: see ``proposals``.
        """
        changes = Changes(self._link, self._home)
        return changes.bring(approve(self._home, proposed.proposal, changes.trust).proposal)

    # --- payloads ---------------------------------------------------------------------------------------------

    def _take(self, arrived: Arrived, work: _Work) -> RoundResult | None:
        """Answer a payload; the result that this member has waited for, if it was that."""
        try:
            parcel = Parcel.from_bytes(arrived.data)
            before, facts = self._home.journal.standing() or (None, {})
            if parcel.kind == parcels.JOIN and len(parcel.expect(parcels.JOIN, 3)[1]):
                parcel = self._learned(parcel)
                mine = before is not None and self._heard_key == before
                if mine and (missed := self._result(facts)) is not None:
                    return missed  # the request to join stays for the next contribution
            answer = self._answer(arrived, parcel, work)
        except SecureAggError as error:
            if not (isinstance(error, _PASSING) or _asks_to_close(arrived.data)):
                self._refuse(arrived, error)
                raise
            _log.warning("%s refuses: %s: %s", self._home.name, type(error).__name__, error)
            self._link.refuse(arrived.item, error)
            return None
        except Exception as error:
            self._refuse(arrived, error)
            raise
        self._link.answer(arrived.item, answer)
        mine = before is not None and self._heard_key == before
        # Where no result follows from another, one that was shown before would be taken for this contribution's.
        if (parcel.kind in (parcels.RESULT, parcels.LEARN) and mine) or (
            parcel.kind == parcels.RESULT and self._home.checks_model
        ):
            return self._result(facts if mine else {})
        return None

    def _refuse(self, arrived: Arrived, error: Exception) -> None:
        """Say so, if there is somebody to say it to: the caller hears of the error itself."""
        try:
            self._link.refuse(arrived.item, error)
        except SecureAggError as lost:
            _log.warning("the service has not heard that %s refuses: %s", self._home.name, lost)

    def _learned(self, join: Parcel) -> Parcel:
        """A request to join without the result that it shows, which this member has verified then: by that it knows
        which model is joined from.
        """
        request, evidence, receipt = join.parts
        self._participant.handle(Parcel(parcels.LEARN, (evidence, receipt)).to_bytes())
        return Parcel(parcels.JOIN, (request, b"", b""))

    def _answer(self, arrived: Arrived, parcel: Parcel, work: _Work) -> bytes:
        if parcel.kind != parcels.JOIN:
            return self._participant.handle(arrived.data, instructions=work.about)
        if arrived.model is None:
            raise LocalProtocolError("a request to join came without a model")
        model = self._model(arrived.model)
        return self._participant.handle(parcel.to_bytes(), model, lambda: work.trained(model), work.about)

    def _model(self, digest: bytes) -> list[npt.NDArray[Any]]:
        """The model that a round is over: this home's own, or the server's, which the participant checks."""
        with self._home.locked():
            link = self._home.chain.link if self._home.checks_model else None
            if link is not None and link.model == digest:
                return self._home.chain.model()
        self._participant.check_base(digest)
        most = bounds.elements(self._home, self._max_parameters)
        with self._saying():
            return decode_model(self._link.model(most_model_bytes(most)), digest, most)

    @contextlib.contextmanager
    def _saying(self) -> Iterator[None]:
        """Where the model's size is not known, what is too long for a guess may be none too long: say what to do."""
        try:
            yield
        except AnswerTooLong as error:
            most = bounds.elements(self._home, self._max_parameters)
            if bounds.known_elements(self._home) is not None or most == self.policy.max_parameters:
                raise
            raise MalformedMessage(
                f"{error.args[0]}: {self._home.path} does not say how large its model is, so one of "
                f"{most:,} parameters is taken at most; "
                "give max_parameters= (--max-parameters), or make the home with the first model's file",
                phase=error.phase,
            ) from None

    @property
    def _heard_key(self) -> tuple[str, int, int] | None:
        heard = self._participant.heard
        if heard is None or heard[1].record.digest() == self._given:
            return None
        config = heard[0].config
        return config.task, config.round, config.attempt

    def _result(self, facts: Mapping[str, Any]) -> RoundResult | None:
        """What was heard last, if that was not returned; ``facts`` of the journal, if it is of this round."""
        heard = self._participant.heard
        if heard is None or heard[1].record.digest() == self._given or heard[1].record.task != self._home.task:
            return None
        evidence, verified, receipt = heard
        average, _ = mean_of(verified)
        return RoundResult(
            round=verified.record.round,
            average=average,
            model=self.model,
            weight=verified.record.weight_sum,
            metrics=metrics_of(evidence.config, verified, facts["metrics"]) if facts else {},
            participants=evidence.participants,
            included=self._home.name in evidence.participants,
            record=verified.record,
            evidence=evidence,
            receipt=receipt,
        )


@checked
def connect(
    url: str, home: str | Path, *, patience: float = PATIENCE_S, max_parameters: int = bounds.UNSAID
) -> Session:
    """Take part in a task's rounds by a service.

    Args:
        url: ``https://HOST:PORT`` of the service.
        home: folder that ``secure-agg federation join`` has made, with this member's key and pins.
        patience: seconds that a service which does not answer is asked again.
        max_parameters: how many the model may have where the home does not say so: it takes any model, or pins the
            first one by nothing but a digest. A service fills no more memory than such a model's rounds take.

    Returns:
        A session; close it, or use it in a ``with`` statement.

    Raises:
        ConfigError: no home, or in use by another process; no URL; a package of the extra ``service`` is missing; or
            ``max_parameters`` is out of range.
        StoreError: the home can't be read.
    """
    within("max_parameters", max_parameters, 1, MAX_PARAMETERS)
    opened = ClientHome.open(home)
    try:
        link = Link(url, opened, patience_s=patience)
        leave = tenants.hold(opened)
    except BaseException:
        opened.close()
        raise
    return Session(opened, link, leave, max_parameters)


def _asks_to_close(payload: bytes) -> bool:
    """Whether it was asked to close the epoch in force. A member that does not goes on in it: its owner has not
    approved what is below the home's floor, or the server has shown what is no epoch, which would end nobody's part.
    """
    try:
        return Parcel.from_bytes(payload).kind == parcels.CLOSE
    except MalformedMessage:
        return False


def _ends(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
