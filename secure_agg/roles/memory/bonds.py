"""What a client's earlier signatures and inputs forbid it.

Updates are of one model: the start model, and the very arrays they are differences from. Two sums over updates of the
same model would let an aggregator take their difference, which is somebody's update. So a client binds itself, in one
durable store, by each of the two:

* before its hidden vector leaves, to one place: epoch, round, draw, and the operators without whom no sum is opened;
  in a tree also to its edge and who is in it. Attempts within one place share one cohort, in which two quorums share
  an honest member.
* when it signs a set, to one attempt of one *generation*, and to that set.
* when it releases what opens a sum, or renounces: to the one and never to the other. What was released is repeated in
  the same bytes; who has renounced signs and releases nothing in that generation any more.
* in a buffered round, with its input, to the one of its bases that the vector is a difference from: ``BaseUse``.
* to the generations that certificates of renunciation have admitted it to; those before are over for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mpc.framing import frame, integer
from secure_agg.errors import PolicyViolation, TaskSpent, WrongContext
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.buffer import Base
from secure_agg.protocol.config.tree import EDGE, level, tree_task
from secure_agg.protocol.epoch import EpochRecord, root_task
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.renunciation import RENOUNCE, Renouncers, Renunciation, RenunciationCertificate
from secure_agg.roles.memory import epochs, results, spending
from secure_agg.roles.memory.attempt import end_attempt
from secure_agg.roles.memory.bases import BaseUse
from secure_agg.roles.memory.store import AttemptStore, task_scope

_ASKED: Final = ("admitted", "renounced", "signed", "input")
"""What a client has bound itself to that may keep it out of a round."""


class Bonds:
    """One client's bonds in the task of one round, on its durable store."""

    def __init__(
        self,
        store: AttemptStore,
        client: str,
        config: RoundConfig,
        seats: bytes = NO_DIGEST,
        *,
        base: Base | None = None,
        newest: int = 0,
    ) -> None:
        """
        Args:
            seats: of the operators who would renounce, see ``Renouncers.seats``.
            base: that the update of a buffered round is a difference from, which this client has computed itself.
            newest: number of the round's newest base.
        """
        self._store, self._client, self._config = store, client, config
        self._task = tree_task(config.task, config.policy)
        self._scope = task_scope(client, self._task)
        self._attempt = integer(config.round) + integer(config.attempt)
        self._place = frame("place", integer(config.epoch), integer(config.round), integer(config.draw), seats)
        if level(config.policy) == EDGE:  # another edge, or another draw into edges, is another cohort
            self._place = frame("edge", self._place, config.task.encode(), config.cohort_root)
        self._start = f"start model {config.start_model.hex()}"
        model = base.model if base is not None else config.base_model
        self._base = f"base model {model.hex()}" if model != NO_DIGEST else None
        self._use = BaseUse(store, client, self._task, base.number, newest, self._place) if base is not None else None
        # Where the arrays are known to follow from a verified result, they are what a signature is for: an evaluation
        # that came to nothing leaves its task's start model as it was, and the next is of another model all the same.
        self._chained = bool(self._base) and results.has_computed(store, client, self._task, model)

    @property
    def _models(self) -> Iterator[str]:
        """What the client is bound by, apart from each other."""
        if not self._chained:
            yield self._start
        if self._base:
            yield self._base

    def _names(self, what: str, later: int = 0) -> Iterator[str]:
        for model in self._models:
            yield _bond(what, model, self._config.generation + later)

    def check_unspent(self) -> None:
        """Refuse a round that this client must sit out.

        Raises:
            TaskSpent: it has given its input of this model elsewhere, has signed in another attempt of this generation,
                has renounced it, or has been admitted to a later one, or not yet to this one.
            BudgetSpent: its privacy budget has no room for one more round.
        """
        self.check_open()
        if self._use is not None:
            self._use.check()
        generation = self._config.generation
        numbered = [*((what, generation) for what in _ASKED), ("admitted", generation + 1)]
        names = [_bond(what, model, number) for model in self._models for what, number in numbered]
        standing = self._store.standing(self._scope, names)
        for model in self._models:

            def bound(what: str, number: int = generation, model: str = model) -> bytes | None:
                return standing.get(_bond(what, model, number))

            of = "from this start model" if model == self._start else "over differences from this very model"
            if bound("admitted", generation + 1) is not None:
                raise self._spent(f"generation {generation} of updates {of} is over: a later one has begun")
            if generation and bound("admitted") != self._config.renounced:
                raise self._spent(
                    f"{self._client!r} knows no certificate that ends generation {generation - 1} of updates {of}"
                )
            if bound("renounced") is not None:
                raise self._spent(
                    f"{self._client!r} has renounced generation {generation} of updates {of}: it joins again once "
                    "enough others have"
                )
            if bound("signed") not in (None, self._attempt):
                raise self._spent(
                    f"{self._client!r} has signed in another attempt {of}: that one may be finished, or renounced; "
                    "else it joins again from a new model, or under a new task"
                )
            if bound("input") not in (None, self._place):
                raise self._spent(f"{self._client!r} has given its update in another round, draw or epoch {of}")
        spending.check_budget(self._store, self._client, self._config)

    @staticmethod
    def _spent(text: str) -> TaskSpent:
        return TaskSpent(text, phase=ADVERTISE)

    def enter(self) -> None:
        """Note an attempt that this client begins, so that its secrets are found when it renounces."""
        for name in self._names(f"attempt {self._config.round}.{self._config.attempt}"):
            self._store.put(self._scope, name, b"1")

    def check_open(self) -> None:
        """Refuse an epoch that this client has closed.

        Raises:
            TaskSpent: it has: it gives nothing more in it.
        """
        task, epoch = root_task(self._config.task), self._config.epoch
        if epochs.is_closed(self._store, self._client, task, epoch):
            raise TaskSpent(
                f"{self._client!r} has closed epoch {epoch} of task {task!r}: it joins again in the next one",
                phase=ADVERTISE,
            )

    def check_start(self, start_model: bytes | None) -> None:
        """The model an aggregator names is believed only until this client has signed: afterwards a new name for an
        old model would let it sum the same updates twice.

        Args:
            start_model: what this client trained from, if its owner says.

        Raises:
            WrongContext: the round starts from another model.
            PolicyViolation: nobody but the aggregator says that it is a new one.
        """
        named = self._config.start_model
        if start_model not in (None, named):
            raise WrongContext("the round starts from another model than this client trained from", phase=ADVERTISE)
        known = start_model is not None or results.is_known(self._store, self._client, self._task, named)
        again = self._store.get(self._scope, self._start) is not None
        again = again or bool(self._store.names(self._scope, f"input {self._start} "))
        if not (known or again) and self._store.get(self._scope, "signed") is not None:
            raise PolicyViolation(
                "the round starts from a model that is no result this client has verified: say which it trained from",
                phase=ADVERTISE,
            )

    def give(self, *, phase: str) -> None:
        """Bind to the place that this client's hidden vector goes to, durably, before it leaves.

        Raises:
            TaskSpent: see ``check_unspent``.
            AlreadyReleased: it was given elsewhere, or renounced, meanwhile.
        """
        self.check_unspent()
        if self._use is None:
            self._bind("input", self._place, self._over(), phase)
        else:
            self._bind("input", self._place, self._over() | self._use.later(), phase, self._use.values)

    def sign(self, statement: bytes, *, phase: str) -> None:
        """Bind to the set that is about to be signed, durably.

        Raises:
            TaskSpent: see ``check_unspent``.
            AlreadyReleased: another set was signed in this generation.
            BudgetSpent: this signature would take the client over its privacy budget.
        """
        self.check_unspent()
        spending.spend(self._store, self._client, self._config, phase=phase)
        self._store.put(self._scope, "signed", b"1")
        self._bind("signed", self._attempt, self._over(), phase)
        self._bind("set", self._attempt + frame("signed", statement), self._over(), phase)

    def release(self, root: bytes, *, phase: str) -> None:
        """Bind to the release of what opens the sum of one set, durably, before it leaves. The same again is harmless.

        Args:
            root: of the set.

        Raises:
            AlreadyReleased: this client has renounced, or has released for another set in this phase.
        """
        self._bind(f"released in phase {phase}", self._attempt + root, self._over(), phase)
        self._bind("released", b"1", self._over(), phase)

    def _over(self) -> dict[str, str]:
        said = dict.fromkeys(self._names("renounced"), "this client has renounced this generation")
        return said | dict.fromkeys(self._names("admitted", 1), "this generation is over: a later one has begun")

    def _bind(
        self, what: str, value: bytes, unless: dict[str, str], phase: str, also: Mapping[str, bytes] | None = None
    ) -> None:
        values = dict.fromkeys(self._names(what), value) | dict(also or {})
        self._store.bind(self._scope, values, unless=unless, phase=phase)
        if self._chained and what != "admitted":  # for a round whose arrays are not known to follow from a result
            self._store.put(self._scope, _bond(what, self._start, self._config.generation), value)

    def renounce(self, successor: bytes = b"") -> Renunciation:
        """Give up what is left to do in this generation: the secrets of its attempts are erased, and from now on
        nothing is signed or released in it.

        Args:
            successor: see ``Renunciation``.

        Returns:
            What this client may sign now, once and again.

        Raises:
            AlreadyReleased: it has released something in some attempt of it, or has gone on to a later generation.
            TaskSpent: it was not admitted to this generation, or its input is elsewhere.
        """
        generation = self._config.generation
        for name in self._names("admitted") if generation else ():
            if self._store.get(self._scope, name) != self._config.renounced:
                raise self._spent(f"{self._client!r} has not been admitted to generation {generation}")
        for name in self._names("input"):
            if self._store.get(self._scope, name) not in (None, self._place):
                raise self._spent(f"{self._client!r} has given its update in another round, draw or epoch")
        said = "this client has released what may open a sum: it renounces nothing"
        unless = dict.fromkeys(self._names("released"), said)
        later = dict.fromkeys(self._names("admitted", 1), "this generation is over: a later one has begun")
        self._bind("renounced", b"1", unless | later, RENOUNCE)
        for name in self._store.names(self._scope, "attempt "):
            if any(name.endswith(ended) for ended in self._names("")):
                number, attempt = name.split(" ", 2)[1].split(".")
                end_attempt(self._store, (self._client, self._config.task, int(number), int(attempt)))
        return Renunciation.of(self._config, successor)

    def admit(self, certificate: RenunciationCertificate, renouncers: Renouncers, *, checked: bool = False) -> None:
        """Go on to the generation of this round, which a certificate has opened; durably, once it is checked.

        Args:
            certificate: of the generation before, which the configuration names.
            renouncers: of that.
            checked: its signatures were, when this client followed the epoch that it begins.

        Raises:
            VerificationError, TooFewClients: see ``RenunciationCertificate.check_precedes``.
            TaskSpent: this client's input in it was opened by other operators than these.
        """
        certificate.check_statement(self._config)
        if not checked:
            certificate.check(renouncers)
        # Of a closed epoch it was members who opened sums, whoever does in this one.
        seats = NO_DIGEST if certificate.statement.successor else renouncers.seats
        place = _placed(certificate.statement, seats)
        for model in self._models:
            before = _bond("input", model, self._config.generation - 1)
            if self._store.get(self._scope, before) not in (None, place):
                raise self._spent(f"the certificate is not of where {self._client!r} has given its update")
        self._bind("admitted", certificate.digest(), {}, RENOUNCE)


def admitted(store: AttemptStore, client: str, statement: Renunciation) -> bytes:
    """Digest of the certificate that has admitted this client to the generation of a statement; zeros for none."""
    scope = task_scope(client, statement.task)
    for model in _models_of(statement):
        found = store.get(scope, _bond("admitted", model, statement.generation))
        if found is not None:
            return found
    return NO_DIGEST


def gave_input(store: AttemptStore, client: str, task: str, model: bytes) -> bool:
    """Whether this client has given an update that is a difference from these arrays, in any round of the task."""
    scope, base = task_scope(client, task), f"base model {model.hex()}"
    return store.get(scope, base) is not None or bool(store.names(scope, f"input {base} "))


def learn_epoch(store: AttemptStore, client: str, record: EpochRecord, closure: bytes) -> None:
    """Remember an epoch that this client follows: what its next round may start from, its weight limit, and that it is
    admitted to the generation that the closing of the epoch before has begun.

    Args:
        record: of the epoch, checked.
        closure: the certificate, encoded; empty for none.
    """
    results.learn_start(store, client, record, known=bool(closure) or record.restarts)
    if not record.generation:
        return
    scope, said = task_scope(client, record.task), RenunciationCertificate.from_bytes(closure).statement
    for model in _models_of(said):
        given = store.get(scope, _bond("input", model, said.generation))
        if given in (None, _placed(said, NO_DIGEST)):  # else it was given where nobody has closed anything
            store.put(scope, _bond("admitted", model, record.generation), record.renounced)


def _models_of(said: Renunciation) -> Iterator[str]:
    """What a renunciation is about, by the names that bonds stand under."""
    if said.base_model != NO_DIGEST:
        yield f"base model {said.base_model.hex()}"
    yield f"start model {said.start_model.hex()}"


def _placed(said: Renunciation, seats: bytes) -> bytes:
    return frame("place", integer(said.epoch), integer(said.round), integer(said.draw), seats)


def has_signed(store: AttemptStore, client: str, task: str) -> bool:
    """Whether this client has signed a set in any round of the task."""
    return store.get(task_scope(client, task), "signed") is not None


def _bond(what: str, model: str, generation: int) -> str:
    """Signatures of the first generation stand under the model itself, as earlier releases have written them."""
    return model if (what, generation) == ("signed", 0) else f"{what} {model} generation {generation}"
